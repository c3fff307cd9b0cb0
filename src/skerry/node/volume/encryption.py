"""Directories that Linux encrypts under keys of their own (fscrypt, policies of version 2).

ext4, F2FS and UBIFS can do it, if the file system was made with the feature `encrypt`. The kernel
encrypts contents (AES-256-XTS) and names (AES-256-CTS) of what lies below a directory; sizes, times
and owners stay in the clear. Who has no key sees scrambled names and can delete them, no more.
Numbers and layouts are those of `linux/fscrypt.h`.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from pathlib import Path

KEY_BYTES = 64
"""How long a key is: as long as the keys of AES-256-XTS."""

IDENTIFIER_BYTES = 16

_ADD_KEY = 0xC0506617
_REMOVE_KEY = 0xC0406618
_KEY_STATUS = 0xC080661A
_SET_POLICY = 0x800C6613
_GET_POLICY = 0xC0096616

_VERSION = 2
_BY_IDENTIFIER = 2
_CONTENTS_AES_256_XTS = 1
_NAMES_AES_256_CTS = 4
_NAMES_PADDED_TO_32 = 3
_PRESENT = 2
_POLICY = "=BBBB4x16s"
_SPECIFIER = "=I4x32s"
_NOT_OFFERED = (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM)
"""What file systems that cannot do it answer, and containers that do not let it be asked."""


def is_offered(directory: Path) -> bool:
    """Tell whether the file system of a directory encrypts by directories."""
    if sys.platform != "linux":
        return False
    try:
        _status(directory, bytes(IDENTIFIER_BYTES))
    except OSError as error:
        if error.errno in _NOT_OFFERED:
            return False
        raise
    return True


def add_key(directory: Path, key: bytes) -> bytes:
    """Give a key to the file system of a directory; return the identifier that follows from it.

    A key that it has already is no error. Raises `OSError`.
    """
    arguments = bytearray(struct.pack(_SPECIFIER, _BY_IDENTIFIER, b""))
    arguments += struct.pack("=II32x", len(key), 0) + key
    try:
        _call(directory, _ADD_KEY, arguments)
        return bytes(arguments[8 : 8 + IDENTIFIER_BYTES])
    finally:
        arguments[-len(key) :] = bytes(len(key))


def remove_key(directory: Path, identifier: bytes) -> None:
    """Take a key from the file system; what is open stays so until it is closed.

    A key that it has not is no error. Raises `OSError`.
    """
    arguments = bytearray(struct.pack(_SPECIFIER, _BY_IDENTIFIER, identifier) + bytes(24))
    try:
        _call(directory, _REMOVE_KEY, arguments)
    except OSError as error:
        if error.errno != errno.ENOKEY:
            raise


def is_present(directory: Path, identifier: bytes) -> bool:
    """Tell whether the file system of a directory has a key. Raises `OSError`."""
    return _status(directory, identifier) == _PRESENT


def protect(directory: Path, identifier: bytes) -> None:
    """Let all that will be made in an empty directory be encrypted. Raises `OSError`."""
    policy = struct.pack(
        _POLICY,
        _VERSION,
        _CONTENTS_AES_256_XTS,
        _NAMES_AES_256_CTS,
        _NAMES_PADDED_TO_32,
        identifier,
    )
    _call(directory, _SET_POLICY, bytearray(policy))


def protection_of(directory: Path) -> bytes | None:
    """Return the identifier of the key under which a directory is encrypted; None if it is not."""
    if sys.platform != "linux":
        return None
    arguments = bytearray(struct.pack("=Q", struct.calcsize(_POLICY)) + bytes(24))
    try:
        _call(directory, _GET_POLICY, arguments)
    except OSError as error:
        if error.errno in (*_NOT_OFFERED, errno.ENODATA):
            return None
        raise
    return bytes(arguments[16 : 16 + IDENTIFIER_BYTES])


def _status(directory: Path, identifier: bytes) -> int:
    arguments = bytearray(struct.pack(_SPECIFIER, _BY_IDENTIFIER, identifier) + bytes(88))
    _call(directory, _KEY_STATUS, arguments)
    return int(struct.unpack_from("=I", arguments, 64)[0])


def _call(directory: Path, request: int, arguments: bytearray) -> None:
    import fcntl  # noqa: PLC0415 (not on every system)

    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, request, arguments, True)
    finally:
        os.close(descriptor)
