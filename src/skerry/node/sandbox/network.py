"""Network namespaces with nothing but a loopback, from which no packet leaves."""

from __future__ import annotations

import fcntl
import os
import socket
import struct

from skerry.node.sandbox import linux
from skerry.node.sandbox.namespaces import map_ids

_SET_FLAGS, _UP = 0x8914, 0x1


def leave(more: int = 0) -> None:
    """Leave the network for a namespace that has a loopback alone, and `more` namespaces with it.

    An ordinary user becomes root of a user namespace on the way. Linux only; raises `OSError` if
    the machine forbids it.
    """
    uid, gid = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWNET | more | (linux.CLONE_NEWUSER if uid else 0))
    if uid:
        map_ids(uid, gid)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        fcntl.ioctl(made, _SET_FLAGS, struct.pack("16sH14x", b"lo", _UP))
