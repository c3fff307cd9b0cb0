"""Wrapping keys as age identities (age-encryption.org/v1): a file each, which `age -d -i` reads."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from skerry.kernel.errors import EXTRA_MISSING
from skerry.node.keys.holders import Folder, other_key


class AgeHolder:
    """X25519 identities in a folder. Who has such a file can open what it wraps with age alone."""

    def __init__(self, path: Path) -> None:
        self._age = _library()
        self._folder = Folder(path, ".agekey")

    def make(self, name: str) -> None:
        """See `Holder.make`."""

        def identity() -> bytes:
            made = self._age.x25519.Identity.generate()
            return f"# data key {name}\n# public key: {made.to_public()}\n{made}\n".encode()

        self._folder.keep(name, identity)

    def _identity(self, name: str) -> object:
        lines = self._folder.read(name).decode().splitlines()
        text = next((line for line in lines if line.startswith("AGE-SECRET-KEY-")), "")
        try:
            return self._age.x25519.Identity.from_str(text)
        except self._age.IdentityError as error:
            raise other_key(name) from error

    def wrap(self, name: str, data: bytes) -> bytes:
        """See `Holder.wrap`."""
        identity = self._identity(name)
        found: bytes = self._age.encrypt(data, [identity.to_public()])  # type: ignore[attr-defined]
        return found

    def unwrap(self, name: str, wrapped: bytes) -> bytes:
        """See `Holder.unwrap`."""
        try:
            found: bytes = self._age.decrypt(wrapped, [self._identity(name)])
        except self._age.DecryptError as error:
            raise other_key(name) from error
        return found

    def destroy(self, name: str) -> str:
        """See `Holder.destroy`."""
        return self._folder.erase(name)


def _library() -> ModuleType:
    try:
        import pyrage  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise EXTRA_MISSING(
            "Keys under age identities need the package pyrage.", hint="pip install 'skerry[keys]'"
        ) from error
    found: ModuleType = pyrage
    return found
