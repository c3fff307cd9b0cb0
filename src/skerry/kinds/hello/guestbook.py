"""The state of a hello resource: a file to which every greeting appends the guest's name.

Appending a short line with O_APPEND is atomic, and a shared lock is taken for it, so that the
engine and bindings in other processes can write at once, and a freeze (an exclusive lock) holds all
of them.
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from pathlib import Path

from skerry.kernel.disk import sync_data
from skerry.kernel.errors import INVALID
from skerry.kernel.journal import journal_of

FILE_NAME = "guests.txt"
GUEST_LENGTH_MAX = 100


class Guestbook:
    """Reads and writes the file."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        self._drop_torn_line()

    def _drop_torn_line(self) -> None:
        """Cut off a last line that a crash left without its end."""
        data = self._path.read_bytes()
        if data and not data.endswith(b"\n"):
            os.ftruncate(self._descriptor, data.rfind(b"\n") + 1)

    def add(self, guest: str) -> int:
        """Note a greeting, durably; return how often that guest has been greeted."""
        if not guest.isprintable() or not 0 < len(guest) <= GUEST_LENGTH_MAX:
            raise INVALID(f"A guest's name has 1 to {GUEST_LENGTH_MAX} printable characters.")
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        try:
            os.write(self._descriptor, guest.encode() + b"\n")
            sync_data(self._descriptor)
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        journal_of(self._path).wrote(self._path)
        return self.counts()[guest]

    def counts(self) -> Counter[str]:
        """Return how often each guest has been greeted."""
        return Counter(self._path.read_text().splitlines())

    def hold(self) -> None:
        """Wait for writers and hold off new ones, in every process."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def release(self) -> None:
        """Let writers go on."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
