"""Who holds the keys that wrap data keys: a folder, age identities, or a key management service.

A holder keeps one *wrapping key* for each data key, under the data key's name, and never gives it
away but in a folder: it wraps, unwraps and destroys. Destroying the wrapping key makes every copy
of the wrapped data key worthless, wherever copies lie, and with it all that the data key encrypts.
Every method blocks: callers use threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from skerry.kernel.errors import CORRUPT, INVALID, KEY_DESTROYED, STORE_UNREACHABLE
from skerry.kernel.names import is_name
from skerry.node.home import sync_directory, write_secret

NODE = "node"
"""The holder that every node has: a folder in its home, which backups of the node hold too."""

KEY_BYTES = 32
NONCE_BYTES = 12


class HolderSpec(msgspec.Struct, frozen=True):
    """Where wrapping keys are kept, as the operator said.

    `file` and `age` keep them in the folder `path`; `transit` has them at `url`, where it shows the
    token in `token_file` on every call.
    """

    name: str
    kind: Literal["file", "age", "transit"]
    path: str = ""
    url: str = ""
    mount: str = "transit"
    token_file: str = ""
    ca_file: str = ""

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return self.url or self.path


class Holder(Protocol):
    """Keeps wrapping keys."""

    def make(self, name: str) -> None:
        """Make a wrapping key; nothing changes if it is there."""
        ...

    def wrap(self, name: str, data: bytes) -> bytes:
        """Return data encrypted under a wrapping key."""
        ...

    def unwrap(self, name: str, wrapped: bytes) -> bytes:
        """Return what was wrapped.

        Raises KEY_DESTROYED if the wrapping key is gone, STORE_UNREACHABLE if whoever holds it does
        not answer, CORRUPT if it was wrapped under another.
        """
        ...

    def destroy(self, name: str) -> str:
        """Destroy a wrapping key; say what was done. One that is gone stays so."""
        ...


def check(spec: HolderSpec) -> HolderSpec:
    """Return a declaration that can be used as it stands; raise INVALID if it cannot."""
    if not is_name(spec.name) or spec.name == NODE:
        raise INVALID(f"{spec.name!r} cannot name a holder of keys.")
    if spec.kind != "transit" and not spec.path.startswith("/"):
        raise INVALID("A folder of keys is named by its whole path.")
    if spec.kind == "transit":
        if not spec.url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
            raise INVALID(
                f"{spec.url!r} is not where a key management service is.",
                why="It is an https URL; plain http only on this machine.",
            )
        if not spec.token_file.startswith("/"):
            raise INVALID("The token is read from a file, named by its whole path.")
    return spec


class Folder:
    """A folder with one file a wrapping key, which only the node's user may read."""

    def __init__(self, path: Path, ending: str) -> None:
        self._path = path
        self._ending = ending

    def file(self, name: str) -> Path:
        """Return the file of a wrapping key."""
        return self._path / f"{name}{self._ending}"

    def keep(self, name: str, value: Callable[[], bytes]) -> None:
        """Write a new wrapping key unless one of that name is there."""
        self._reach()
        if not self.file(name).exists():
            write_secret(self.file(name), value())

    def read(self, name: str) -> bytes:
        """Return a wrapping key; raise KEY_DESTROYED if it is not there."""
        self._reach()
        try:
            return self.file(name).read_bytes()
        except FileNotFoundError as error:
            raise gone(name) from error

    def erase(self, name: str) -> str:
        """Overwrite and remove a wrapping key."""
        self._reach()
        file = self.file(name)
        if not file.exists():
            return f"{file} was gone already"
        with file.open("r+b") as opened:
            opened.write(os.urandom(file.stat().st_size))
            opened.flush()
            os.fsync(opened.fileno())
        file.unlink()
        sync_directory(self._path)
        return f"{file} was overwritten and removed; a disk may keep old blocks, and copies count"

    def _reach(self) -> None:
        """Raise STORE_UNREACHABLE if the folder is not there: a disk that is not mounted, say."""
        if not self._path.is_dir():
            raise STORE_UNREACHABLE(
                f"The folder of keys {self._path} is not there.",
                why="It is made by the operator, on a disk that is mounted while the node starts.",
                hint="skerry keys list",
            )


class FolderHolder:
    """Wrapping keys of 32 bytes in a folder; AES-256-GCM."""

    def __init__(self, path: Path) -> None:
        self._folder = Folder(path, ".key")

    def make(self, name: str) -> None:
        """See `Holder.make`."""
        self._folder.keep(name, lambda: os.urandom(KEY_BYTES))

    def wrap(self, name: str, data: bytes) -> bytes:
        """See `Holder.wrap`."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self._folder.read(name)).encrypt(nonce, data, name.encode())

    def unwrap(self, name: str, wrapped: bytes) -> bytes:
        """See `Holder.unwrap`."""
        nonce, data = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
        try:
            return AESGCM(self._folder.read(name)).decrypt(nonce, data, name.encode())
        except (InvalidTag, ValueError) as error:
            raise other_key(name) from error

    def destroy(self, name: str) -> str:
        """See `Holder.destroy`."""
        return self._folder.erase(name)


def gone(name: str) -> Exception:
    """Return the error about a wrapping key that is not there."""
    return KEY_DESTROYED(
        f"The wrapping key {name} is gone.",
        why="It was destroyed, or never was at this holder.",
        hint="skerry keys list",
    )


def other_key(name: str) -> Exception:
    """Return the error about what another key has wrapped."""
    return CORRUPT(f"The data key {name} was wrapped by another key.", hint="skerry keys list")
