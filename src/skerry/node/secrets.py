"""Secrets at rest: sealed with AES-256-GCM under a key of the node, opened where they are used."""

from __future__ import annotations

import os
from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from skerry.kernel.catalogue import Catalogue
from skerry.kernel.errors import CORRUPT, NOT_FOUND, TOO_LARGE
from skerry.kernel.keys import derive

SECRET_BYTES_MAX = 64 * 1024
_NONCE_BYTES = 12


class Vault:
    """Seals and opens the secrets of apps; each opens under its own app and name only."""

    def __init__(self, node_key: bytes, catalogue: Catalogue) -> None:
        self._cipher = AESGCM(derive(node_key, "vault"))
        self._catalogue = catalogue

    def seal(self, app: str, name: str, value: str) -> bytes:
        """Return the ciphertext of a secret."""
        data = value.encode()
        if len(data) > SECRET_BYTES_MAX:
            raise TOO_LARGE(f"A secret has at most {SECRET_BYTES_MAX} bytes.")
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, data, _place(app, name))

    def open(self, app: str, name: str) -> str:
        """Return a secret of an app; raise NOT_FOUND if it is not set."""
        sealed = self._catalogue.app(app).secrets.get(name)
        if sealed is None:
            raise NOT_FOUND(
                f"{app} has no secret {name}.",
                why="A function names it in skerry.toml.",
                hint=f"skerry secret set {name} --app {app}",
            )
        nonce, data = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, data, _place(app, name)).decode()
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
