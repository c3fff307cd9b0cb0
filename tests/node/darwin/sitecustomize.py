"""Makes a process look as Python does on macOS: what only Linux has is not there.

It is found by its name when an interpreter starts with this folder in PYTHONPATH, and so do those
that it starts. What macOS has and Linux lacks cannot be shown this way: it is not tried.
"""

from __future__ import annotations

import asyncio
import builtins
import ctypes
import errno
import io
import logging.handlers
import multiprocessing
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
import webbrowser
from typing import Any

import uvloop

KNOWN = (
    *(asyncio, logging.handlers, multiprocessing, shutil, ssl, subprocess, tempfile),
    *(urllib.request, uuid, uvloop, webbrowser),
)
"""Imported before: they are made for the platform that they are on."""

LACKING: dict[Any, tuple[str, ...]] = {
    os: (
        "copy_file_range", "eventfd", "fdatasync", "getrandom", "getresgid", "getresuid",
        "memfd_create", "pidfd_open", "pipe2", "posix_fadvise", "posix_fallocate", "preadv2",
        "sched_getaffinity", "sched_setaffinity", "setresgid", "setresuid", "splice",
        "EFD_CLOEXEC", "GRND_NONBLOCK", "MFD_CLOEXEC", "O_DIRECT", "O_NOATIME", "O_PATH",
        "O_TMPFILE", "POSIX_FADV_DONTNEED", "RWF_DSYNC", "SCHED_BATCH", "getxattr", "listxattr",
        "removexattr", "setxattr", "XATTR_CREATE",
    ),
    socket: (
        "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG", "SO_PEERCRED", "SO_PASSCRED", "SO_DOMAIN",
        "SO_BINDTODEVICE", "SO_MARK", "SO_PROTOCOL", "SOCK_CLOEXEC", "SOCK_NONBLOCK", "TCP_CORK",
        "TCP_DEFER_ACCEPT", "TCP_KEEPIDLE", "TCP_QUICKACK", "TCP_USER_TIMEOUT", "TCP_INFO",
        "IP_TRANSPARENT", "MSG_CMSG_CLOEXEC", "MSG_NOSIGNAL", "SCM_CREDENTIALS",
    ),
    select: ("epoll", "EPOLLIN"),
    signal: ("pidfd_send_signal", "SIGRTMIN", "SIGRTMAX", "sigtimedwait", "sigwaitinfo", "SIGPWR"),
    time: ("CLOCK_BOOTTIME", "CLOCK_TAI", "CLOCK_MONOTONIC_COARSE"),
}  # fmt: skip
SYMBOLS = (
    "prctl", "unshare", "setns", "syncfs", "malloc_trim", "pivot_root", "capset", "capget", "mount",
    "umount2", "fallocate", "sched_setaffinity", "memfd_create",
)  # fmt: skip
FOLDERS = ("/proc", "/sys", "/dev/shm")
SEQPACKET = socket.SOCK_SEQPACKET

_real_pair = socket.socketpair
_real_dll = ctypes.CDLL


class _Library(_real_dll):
    """A C library without what only Linux has."""

    def __getattr__(self, name: str) -> Any:
        if name in SYMBOLS:
            raise AttributeError(f"dlsym: {name}: symbol not found")
        return super().__getattr__(name)


def _pair(family: Any = None, *more: Any) -> Any:
    if SEQPACKET in more:
        raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))
    return _real_pair(family, *more)


def _without_folders(real: Any) -> Any:
    def call(path: Any, *more: Any, **named: Any) -> Any:
        if isinstance(path, str | bytes | os.PathLike):
            text = os.fsdecode(path)
            if any(text == each or text.startswith(f"{each}/") for each in FOLDERS):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), text)
        return real(path, *more, **named)

    return call


def become() -> None:
    """Take away what macOS lacks."""
    sys.platform = "darwin"
    for module, names in LACKING.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    ctypes.CDLL = _Library  # type: ignore[misc]
    socket.socketpair = _pair  # type: ignore[assignment]
    for name in ("open", "stat", "lstat", "listdir", "scandir", "readlink", "access"):
        setattr(os, name, _without_folders(getattr(os, name)))
    io.open = builtins.open = _without_folders(builtins.open)


become()
