"""Secrets at rest: sealed with AES-256-GCM under the data key of their app, opened where used.

What belongs to no app (keys that resources brought from another node), and the secrets of an app
that has no data key yet, are sealed under a key of the node.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from skerry.kernel.catalogue import Catalogue
from skerry.kernel.errors import CORRUPT, NOT_FOUND, TOO_LARGE
from skerry.kernel.keys import derive
from skerry.node.keys.ring import KeyRing

SECRET_BYTES_MAX = 64 * 1024
_NONCE_BYTES = 12
_UNDER_DATA_KEY = b"SKRD"
_ID_BYTES = 8
"""What a data key's id has: it stands between the mark and the nonce."""


class Vault:
    """Seals and opens the secrets of apps; each opens under its own app and name only."""

    def __init__(self, node_key: bytes, catalogue: Catalogue, ring: KeyRing) -> None:
        self._cipher = AESGCM(derive(node_key, "vault"))
        self._catalogue = catalogue
        self._ring = ring

    def seal(self, app: str, name: str, value: str) -> bytes:
        """Return the ciphertext of a secret. Raises STORE_UNREACHABLE if the key is locked."""
        data = value.encode()
        if len(data) > SECRET_BYTES_MAX:
            raise TOO_LARGE(f"A secret has at most {SECRET_BYTES_MAX} bytes.")
        nonce = os.urandom(_NONCE_BYTES)
        current = self._ring.current(app)
        if current is None:
            return nonce + self._cipher.encrypt(nonce, data, _place(app, name))
        cipher = AESGCM(derive(current.key, "vault"))
        head = _UNDER_DATA_KEY + bytes.fromhex(current.id)
        return head + nonce + cipher.encrypt(nonce, data, _place(app, name))

    def is_under_data_key(self, sealed: bytes) -> bool:
        """Tell whether a ciphertext is under an app's data key, not under the node's."""
        return sealed.startswith(_UNDER_DATA_KEY)

    def open(self, app: str, name: str) -> str:
        """Return a secret of an app.

        Raises NOT_FOUND if it is not set, STORE_UNREACHABLE while its data key is locked, and
        KEY_DESTROYED if that is gone.
        """
        sealed = self._catalogue.app(app).secrets.get(name)
        if sealed is None:
            raise NOT_FOUND(
                f"{app} has no secret {name}.",
                why="A function names it in skerry.toml.",
                hint=f"skerry secret set {name} --app {app}",
            )
        return self.open_sealed(app, name, sealed)

    def open_sealed(self, app: str, name: str, sealed: bytes) -> str:
        """Return what a ciphertext holds; raises as `open` does."""
        cipher, rest = self._cipher, sealed
        if self.is_under_data_key(sealed):
            start = len(_UNDER_DATA_KEY)
            key = self._ring.key(sealed[start : start + _ID_BYTES].hex())
            cipher, rest = AESGCM(derive(key, "vault")), sealed[start + _ID_BYTES :]
        nonce, data = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, data, _place(app, name)).decode()
        except InvalidTag as error:
            raise CORRUPT(
                f"The secret {name} of {app} does not open.",
                why="It was sealed under another key.",
                hint=f"skerry secret set {name} --app {app}",
            ) from error

    def seal_key(self, name: str, key: bytes) -> bytes:
        """Return the ciphertext of a key that a resource brought from another node."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, key, f"key {name}".encode())

    def unseal_key(self, name: str, sealed: bytes) -> bytes:
        """Return such a key; raise CORRUPT if it was sealed under another node's key."""
        nonce, data = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, data, f"key {name}".encode())
        except InvalidTag as error:
            raise CORRUPT(
                f"The key of {name} does not open.",
                why="The home's node.key is not the one that sealed it.",
                hint="skerry doctor",
            ) from error

    def open_named(self, app: str, names: Iterable[str]) -> dict[str, str]:
        """Return those secrets of an app that are named and set."""
        known = self._catalogue.app(app).secrets
        return {name: self.open(app, name) for name in names if name in known}


def _place(app: str, name: str) -> bytes:
    return f"{app}/{name}".encode()
