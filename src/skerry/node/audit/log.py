"""The audit log on disk: entries are appended in batches, each sealed by a signed checkpoint.

Files of the tree are written and synced first, then the checkpoint replaces the one before: what
it does not cover was not acknowledged, and is written anew. Every checkpoint is kept in
`checkpoints`, so that whoever verifies can tell between which two heads something was changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from skerry.kernel.disk import sync_data
from skerry.kernel.errors import CORRUPT, INVALID, SkerryError
from skerry.node.audit.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    tree_root,
    verify_consistency,
)
from skerry.node.audit.note import Checkpoint, Note, Signer, Verifier, parse_note
from skerry.node.audit.tiles import WIDTH, Edge, Tiles, directory_reader, tile_path, widths
from skerry.node.home import sync_directory

CHECKPOINT = "checkpoint"
HISTORY = "checkpoints"
KEY = "key"
SEPARATOR = "\x1e\n"
"""Between the notes in the history."""


class AuditLog:
    """A log in a directory. One thread at a time may use it; opening it checks the head."""

    def __init__(self, directory: Path, signer: Signer) -> None:
        self.directory = directory
        self.signer = signer
        directory.mkdir(parents=True, exist_ok=True)
        _write(directory / KEY, f"{signer.verifier}\n".encode())
        self._read = directory_reader(directory)
        self.note = self._recover()
        self.head = Checkpoint.parse(self.note.text)
        self._edge = Edge(self.head.size, self.tree())
        self.last = self._last_leaf()

    @property
    def verifier(self) -> Verifier:
        """The key that checkpoints are signed with."""
        return self.signer.verifier

    def _recover(self) -> Note:
        """Return the newest checkpoint, of an empty tree if there is none yet."""
        path = self.directory / CHECKPOINT
        if not path.exists():
            empty = Checkpoint(self.signer.name, 0, tree_root(0, _nothing))
            note = self._signed(empty)
            self._write_checkpoint(note)
            return note
        note = parse_note(path.read_text())
        try:
            signed = self.verifier in note.verified([self.verifier])
        except SkerryError as error:
            raise _damaged(self.directory, error.what) from error
        head = Checkpoint.parse(note.text)
        if not signed or head.origin != self.signer.name:
            raise _damaged(self.directory, "Its checkpoint is not signed by this node.")
        if tree_root(head.size, Tiles(self._read, head.size).subtree) != head.root:
            raise _damaged(self.directory, "The tree is not the one that was signed.")
        return note

    def _signed(self, checkpoint: Checkpoint) -> Note:
        return parse_note(checkpoint.text + "\n" + self.signer.line(checkpoint.text))

    def _last_leaf(self) -> bytes:
        """Return the hash of the last entry, which the next one carries."""
        size = self.head.size
        return self.tree().subtree(0, size - 1) if size else bytes(32)

    def root_at(self, size: int) -> bytes:
        """Return the root as it was with so many entries."""
        return tree_root(size, self.tree(size).subtree)

    def tree(self, size: int | None = None) -> Tiles:
        """Return the tree as it is, or as it was with so many entries."""
        if size is None:
            return Tiles(self._read, self.head.size)
        return Tiles(self._read, size, max(size, self.head.size))

    def append(self, entries: Sequence[bytes]) -> int:
        """Append entries; when this returns they survive a power cut. Returns the first's index."""
        first = self.head.size
        edge = self._edge
        files = edge.add(entries)
        try:
            self._write_files(files)
            root = tree_root(edge.size, self.tree(edge.size).subtree)
            note = self._signed(Checkpoint(self.signer.name, edge.size, root))
            self._write_history(note)
            self._write_checkpoint(note)
        except BaseException:
            self._edge = Edge(first, self.tree(first))
            raise
        self.note, self.head = note, Checkpoint.parse(note.text)
        self.last = leaf_hash(entries[-1]) if entries else self.last
        self._remove_partial(first)
        return first

    def _write_files(self, files: dict[str, bytes]) -> None:
        directories = set()
        for name, data in files.items():
            path = self.directory / name
            for parent in reversed(path.parents):
                if not parent.exists():
                    parent.mkdir()
                    directories.add(parent.parent)
            directories.add(path.parent)
            _write(path, data)
        for directory in directories:
            sync_directory(directory)

    def _write_checkpoint(self, note: Note) -> None:
        temporary = self.directory / ".checkpoint.new"
        _write(temporary, str(note).encode())
        temporary.rename(self.directory / CHECKPOINT)
        sync_directory(self.directory)

    def _write_history(self, note: Note) -> None:
        with (self.directory / HISTORY).open("ab") as file:
            file.write((str(note) + SEPARATOR).encode())
            file.flush()
            sync_data(file.fileno())

    def _remove_partial(self, before: int) -> None:
        """Remove partial tiles that a checkpoint of the size before needed and this does not."""
        now = set(widths(self.head.size))
        for level, index, width in widths(before):
            if (level, index, width) in now:
                continue
            names: list[int | str] = [level, "entries"] if level == 0 else [level]
            for name in names:
                (self.directory / tile_path(name, index, width)).unlink(missing_ok=True)

    def add_cosignatures(self, size: int, lines: Sequence[str]) -> bool:
        """Keep witnesses' signatures of the newest checkpoint; False if it is newer by now."""
        if size != self.head.size or not lines:
            return False
        note = parse_note(str(self.note) + "".join(lines))
        self._write_history(note)
        self._write_checkpoint(note)
        self.note = note
        return True

    def history(self) -> list[Note]:
        """Return every checkpoint that was signed, in order."""
        path = self.directory / HISTORY
        return parse_history(path.read_text()) if path.exists() else []

    def entries(self, start: int = 0) -> Iterator[bytes]:
        """Yield the entries from an index on."""
        tree = self.tree()
        for bundle in range(start // WIDTH, -(-tree.size // WIDTH)):
            for offset, entry in enumerate(tree.entries(bundle)):
                if bundle * WIDTH + offset >= start:
                    yield entry

    def entry(self, index: int) -> bytes:
        """Return an entry; raise INVALID if there is none of that index."""
        if not 0 <= index < self.head.size:
            raise INVALID(
                f"The audit log has no entry {index}.",
                why=f"It has {self.head.size}, from 0 on.",
                hint="skerry audit entries",
            )
        return self.tree().entries(index // WIDTH)[index % WIDTH]

    def inclusion(self, index: int) -> list[bytes]:
        """Return the proof that an entry is under the newest checkpoint."""
        return inclusion_proof(index, self.head.size, self.tree().subtree)

    def consistency(self, old: int) -> list[bytes]:
        """Return the proof that the newest tree extends the one of an older size."""
        return consistency_proof(old, self.head.size, self.tree().subtree)


def parse_history(text: str) -> list[Note]:
    """Read kept checkpoints; what a crash left half-written at the end does not count."""
    *whole, _ = text.split(SEPARATOR)
    return [parse_note(each) for each in whole]


def check_extends(old: Checkpoint, new: Checkpoint, proof: Sequence[bytes]) -> None:
    """Raise CORRUPT unless a log that was at one head is now at the other."""
    if not verify_consistency(old.size, new.size, proof, old.root, new.root):
        raise CORRUPT(
            f"The log {new.origin} does not extend what it was.",
            why=f"No proof leads from its {old.size} entries to these {new.size}.",
        )


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        sync_data(descriptor)
    finally:
        os.close(descriptor)


def _nothing(level: int, index: int) -> bytes:
    raise AssertionError("an empty tree has no hashes")


def _damaged(directory: Path, why: str) -> Exception:
    return CORRUPT(
        f"The audit log in {directory} is damaged.",
        why=why,
        hint=f"skerry audit verify {directory}",
    )
