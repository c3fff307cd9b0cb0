"""Names for the users of apps, so that programs which look their user up find one.

A node that runs as root gives each app a user id without an account on the machine. The zygote
shows its processes an `/etc/passwd` of their own instead: the machine's, and a line for each app.
"""

from __future__ import annotations

import os
from pathlib import Path

MACHINE = Path("/etc/passwd")


class Accounts:
    """The file that stands for `/etc/passwd` in cells."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: set[int] = set()
        path.write_text(MACHINE.read_text() if MACHINE.exists() else "")
        path.chmod(0o644)

    def add(self, index: int, uid: int) -> None:
        """Give the app with that number a name."""
        if uid in self._known:
            return
        self._known.add(uid)
        line = f"skerry{index}:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin\n"
        # One write to the same file: a process that has it mounted sees the whole line or none.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
