"""State on this node's disk, encrypted under the data keys of its apps where the file system can.

Every branch directory gets a policy of the kernel's own encryption of directories as it is made, so
that engines and code notice nothing, and destroying a data key ends the state too. A copy has the
key of its source. What lies in the clear, or under an older key, is copied under the key in use
(`Branches.encrypt`).
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable
from pathlib import Path

from skerry.kernel.errors import KEY_DESTROYED, STORE_UNREACHABLE
from skerry.kernel.keys import derive
from skerry.node.keys.ring import KeyRing, OpenKey
from skerry.node.volume import encryption


class AtRest:
    """Gives the kernel the keys that the ring has open, and takes them back. Making it blocks."""

    def __init__(self, volume: Path, ring: KeyRing) -> None:
        self._volume = volume
        self._ring = ring
        self._identifiers: dict[str, bytes] = {}
        self.able = encryption.is_offered(volume)
        """Whether the file system of the volume encrypts directories."""
        if self.able:
            for each in ring.opened:
                self._give(each)
            ring.on_open.append(self._give)
            ring.on_end.append(self.drop_ended)

    def __repr__(self) -> str:
        return f"AtRest({self._volume}, able={self.able})"

    def _give(self, key: OpenKey) -> bytes:
        parts = [derive(key.key, "state", half) for half in ("first", "second")]
        found = encryption.add_key(self._volume, b"".join(parts))
        self._identifiers[key.id] = found
        return found

    async def key_of(self, app: str, brought: OpenKey | None = None) -> bytes | None:
        """Return the identifier of the key for a new branch of an app; None where nothing encrypts.

        The app gets a data key if it has none, unless it is on its way and has `brought` one.
        Raises STORE_UNREACHABLE.
        """
        if not self.able:
            return None
        key = self._ring.current(app) or brought or await self._ring.ensure(app)
        return await asyncio.to_thread(self._give, key)

    async def drop_ended(self) -> None:
        """Take the keys from the kernel that the ring has no more."""
        known = {each.id for each in self._ring.keys}
        await asyncio.to_thread(self._take, set(self._identifiers) - known)

    def close(self) -> None:
        """Take every key from the kernel: from now on the state is locked. Blocks."""
        self._take(set(self._identifiers))

    def _take(self, ids: Iterable[str]) -> None:
        for each in ids:
            encryption.remove_key(self._volume, self._identifiers.pop(each))

    def check(self, directory: Path) -> None:
        """Raise KEY_DESTROYED or STORE_UNREACHABLE if a branch directory cannot be read now."""
        if not self.able:
            return
        try:
            key = encryption.protection_of(directory)
        except FileNotFoundError:
            return
        if key is None or encryption.is_present(directory, key):
            return
        if self._ring.locked:
            raise STORE_UNREACHABLE(
                "The state is encrypted, and its key cannot be opened now.",
                why=next(iter(self._ring.locked.values())),
                hint="skerry keys unlock",
            )
        raise KEY_DESTROYED(
            "The state is encrypted, and this node has no key that opens it.",
            why="The key was destroyed, or the state is of another node.",
            hint="skerry audit receipts",
        )

    def is_under(self, directory: Path, key: bytes | None) -> bool:
        """Tell whether a branch directory is encrypted under the key of an identifier. Blocks."""
        return encryption.protection_of(directory) == key

    def encrypted(self, directories: Iterable[Path]) -> list[Path]:
        """Return those of some branch directories that are encrypted. Blocks."""
        return [each for each in directories if self.able and _is_encrypted(each)]


def _is_encrypted(directory: Path) -> bool:
    try:
        return encryption.protection_of(directory) is not None
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
