"""The sockets of a process and its children, as the kernel tells (/proc/<pid>/net/tcp)."""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

READABLE = Path("/proc/self/net/tcp").exists()
"""Whether this system tells; it does not change while a process runs."""

ESTABLISHED, LISTEN = "01", "0A"
_INODE = re.compile(r"socket:\[(\d+)\]")


class Socket(NamedTuple):
    """A TCP socket: its ends, and whether it listens."""

    local: str
    local_port: int
    remote: str
    remote_port: int
    listens: bool

    @property
    def leaves(self) -> bool:
        """Whether its other end is not this machine's loopback."""
        return not self.listens and not _is_loopback(self.remote)

    @property
    def open_to_others(self) -> bool:
        """Whether somebody else than this machine can connect to it."""
        return self.listens and not _is_loopback(self.local)


def _is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def sockets_of(pid: int) -> list[Socket]:
    """Return the TCP sockets of a process and of all that descend from it."""
    inodes = {inode for each in (pid, *descendants(pid)) for inode in _inodes(each)}
    found = []
    for name in ("tcp", "tcp6"):
        path = Path(f"/proc/{pid}/net/{name}")
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[9] in inodes and fields[3] in (ESTABLISHED, LISTEN):
                local, remote = _end(fields[1]), _end(fields[2])
                found.append(Socket(*local, *remote, fields[3] == LISTEN))
    return found


def descendants(pid: int) -> list[int]:
    """Return the processes that descend from one."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found: list[int] = []
    rest = [pid]
    while rest:
        below = children.get(rest.pop(), [])
        found += below
        rest += below
    return found


def _inodes(pid: int) -> Iterator[str]:
    try:
        names = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return
    for name in names:
        try:
            match = _INODE.fullmatch(str(name.readlink()))
        except OSError:
            continue
        if match:
            yield match[1]


def _end(text: str) -> tuple[str, int]:
    """Read an address and port as the kernel writes them: words in the machine's byte order."""
    address, _, port = text.partition(":")
    raw = bytes.fromhex(address)
    if sys.byteorder == "little":
        raw = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
    return str(ipaddress.ip_address(raw)), int(port, 16)
