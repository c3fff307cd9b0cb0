"""Ports for what a test starts later, or again: not even a restart finds them taken."""

from __future__ import annotations

import contextlib
import secrets
import socket

FIRST, COUNT = 20_000, 12_000
"""Below those that the kernel gives to connections and to whoever asks for any."""


def free_port() -> int:
    """Return a port of the loopback that nothing listens on now."""
    while True:
        port = FIRST + secrets.randbelow(COUNT)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def free_ports(count: int) -> list[int]:
    """Return so many ports, each another."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)
