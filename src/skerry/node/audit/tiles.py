"""Tiles on disk (C2SP tlog-tiles): static files that hold a log's entries and its tree.

checkpoint                  the signed head
tile/<level>/<index>        256 hashes; level 0 holds leaves, each other the roots of full tiles
tile/entries/<index>        256 entries, each with a 16-bit length before it
….p/<width>                 the same of a tile that is not full yet
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from skerry.kernel.errors import CORRUPT, TOO_LARGE
from skerry.node.audit.merkle import leaf_hash, root_of

HEIGHT = 8
WIDTH = 1 << HEIGHT
HASH_BYTES = 32
ENTRY_BYTES_MAX = (1 << 16) - 1

Read = Callable[[str], bytes | None]
"""Returns the content of a file by its path within the log, or None if there is none."""


def tile_path(level: int | str, index: int, width: int = WIDTH) -> str:
    """Return the path of a tile; `level` is a number, or `entries`."""
    parts = [f"{index % 1000:03}"]
    rest = index // 1000
    while rest:
        parts.append(f"x{rest % 1000:03}")
        rest //= 1000
    suffix = "" if width == WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(reversed(parts))}{suffix}"


def pack_entries(entries: Sequence[bytes]) -> bytes:
    """Return an entry bundle; raise TOO_LARGE if an entry does not fit."""
    out = bytearray()
    for entry in entries:
        if len(entry) > ENTRY_BYTES_MAX:
            raise TOO_LARGE(f"An entry of the audit log has at most {ENTRY_BYTES_MAX} bytes.")
        out += struct.pack(">H", len(entry)) + entry
    return bytes(out)


def unpack_entries(bundle: bytes) -> list[bytes]:
    """Return the entries of a bundle; raise CORRUPT if it is cut short."""
    entries = []
    offset = 0
    while offset < len(bundle):
        end = offset + 2
        length = int.from_bytes(bundle[offset:end])
        entry = bundle[end : end + length]
        if end > len(bundle) or len(entry) < length:
            raise CORRUPT("An entry bundle of the audit log is cut short.")
        entries.append(entry)
        offset = end + length
    return entries


def widths(size: int) -> list[tuple[int, int, int]]:
    """Return (level, index, width) of the last tile of each level of a tree, if it is partial."""
    found = []
    level = 0
    while size >> (HEIGHT * level):
        count = size >> (HEIGHT * level)
        if count % WIDTH:
            found.append((level, count // WIDTH, count % WIDTH))
        level += 1
    return found


class Tiles:
    """Reads the tree of a log of a given size from its tiles.

    `kept` is the size of the tree whose tiles are there, if it has grown since: the partial tiles
    of an older size are gone, and the later ones begin as they did.
    """

    def __init__(self, read: Read, size: int, kept: int | None = None) -> None:
        self._read = read
        self.size = size
        self._kept = size if kept is None else kept
        self._cache: dict[tuple[int | str, int], bytes] = {}

    def hashes(self, level: int, index: int) -> bytes:
        """Return the hashes of a tile; raise CORRUPT if it is not there or has another length."""
        width = min(WIDTH, (self.size >> (HEIGHT * level)) - index * WIDTH)
        found = self._tile(level, index, self._width(level, index))[: width * HASH_BYTES]
        if len(found) != width * HASH_BYTES:
            raise CORRUPT(f"The tile {tile_path(level, index, width)} is cut short.")
        return found

    def entries(self, index: int) -> list[bytes]:
        """Return the entries of a bundle, as far as the tree goes."""
        width = min(WIDTH, self.size - index * WIDTH)
        found = unpack_entries(self._tile("entries", index, self._width(0, index)))[:width]
        if len(found) != width:
            raise CORRUPT(f"The bundle {tile_path('entries', index, width)} lacks entries.")
        return found

    def _width(self, level: int, index: int) -> int:
        """Return how much of a tile is there."""
        return min(WIDTH, (self._kept >> (HEIGHT * level)) - index * WIDTH)

    def _tile(self, level: int | str, index: int, width: int) -> bytes:
        """Read a tile; the full one stands in for a partial one that is gone."""
        key = (level, index)
        if key not in self._cache:
            data = self._read(tile_path(level, index, width))
            if data is None and width < WIDTH:
                data = self._read(tile_path(level, index))
            if data is None:
                raise CORRUPT(f"The tile {tile_path(level, index, width)} is not there.")
            if len(self._cache) > 1024:
                self._cache.clear()
            self._cache[key] = data
        return self._cache[key]

    def subtree(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree: see `merkle.Subtree`."""
        tile_level, row = divmod(level, HEIGHT)
        first = index << row
        tile = self.hashes(tile_level, first // WIDTH)
        at = (first % WIDTH) * HASH_BYTES
        part = tile[at : at + (HASH_BYTES << row)]
        hashes = [part[i : i + HASH_BYTES] for i in range(0, len(part), HASH_BYTES)]
        if len(hashes) != 1 << row:
            raise CORRUPT(f"The tile {tile_path(tile_level, first // WIDTH)} is cut short.")
        return root_of(hashes)


class Edge:
    """The right edge of a tree that grows: the tiles of each level that are not full yet."""

    def __init__(self, size: int = 0, tiles: Tiles | None = None) -> None:
        self.size = size
        self._levels: list[bytearray] = []
        self._entries: list[bytes] = []
        if tiles is None or not size:
            return
        level = 0
        while size >> (HEIGHT * level):
            count = size >> (HEIGHT * level)
            rest = tiles.hashes(level, count // WIDTH) if count % WIDTH else b""
            self._levels.append(bytearray(rest))
            level += 1
        if size % WIDTH:
            self._entries = tiles.entries(size // WIDTH)

    def add(self, entries: Sequence[bytes]) -> dict[str, bytes]:
        """Take entries; return the files that then must be there, by their paths."""
        files: dict[str, bytes] = {}
        for entry in entries:
            index = self.size // WIDTH
            self._entries.append(entry)
            self._push(0, leaf_hash(entry), files)
            self.size += 1
            if self.size % WIDTH == 0:
                files[tile_path("entries", index)] = pack_entries(self._entries)
                self._entries = []
        for level, index, width in widths(self.size):
            files[tile_path(level, index, width)] = bytes(self._levels[level])
        if self._entries:
            index, width = divmod(self.size, WIDTH)
            files[tile_path("entries", index, width)] = pack_entries(self._entries)
        return files

    def _push(self, level: int, found: bytes, files: dict[str, bytes]) -> None:
        if level == len(self._levels):
            self._levels.append(bytearray())
        row = self._levels[level]
        row += found
        if len(row) < WIDTH * HASH_BYTES:
            return
        full = bytes(row)
        hashes = [full[i : i + HASH_BYTES] for i in range(0, len(full), HASH_BYTES)]
        index = ((self.size + 1) >> (HEIGHT * (level + 1))) - 1
        files[tile_path(level, index)] = full
        row.clear()
        self._push(level + 1, root_of(hashes), files)


def directory_reader(root: Path) -> Read:
    """Return what reads files of a log from a directory."""

    def read(path: str) -> bytes | None:
        file = root / path
        return file.read_bytes() if file.is_file() else None

    return read
