"""Wrapping keys in a key management service that speaks the transit API of OpenBao and Vault.

The service never gives a key away; each call shows a token, which is read from its file every
time, so that it can be renewed by whoever renews it. The token needs `update` on
`<mount>/keys/skerry-*`, `<mount>/keys/skerry-*/config`, `<mount>/encrypt/skerry-*` and
`<mount>/decrypt/skerry-*`, and `delete` on the keys.

It was tried against a server of this project's tests, not against a vendor's.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from skerry.kernel.errors import DENIED, ENGINE_FAILED, STORE_UNREACHABLE
from skerry.node.keys.holders import HolderSpec, gone, other_key

SECONDS = 10.0
ANSWER_BYTES_MAX = 1 << 20
PREFIX = "skerry-"


class TransitHolder:
    """See the module's docstring."""

    def __init__(self, spec: HolderSpec) -> None:
        self._spec = spec

    def make(self, name: str) -> None:
        """See `Holder.make`. The key can be destroyed, and never exported."""
        said = {"type": "aes256-gcm96", "exportable": False, "allow_plaintext_backup": False}
        self._call("POST", f"keys/{PREFIX}{name}", said)

    def wrap(self, name: str, data: bytes) -> bytes:
        """See `Holder.wrap`."""
        said = {"plaintext": base64.b64encode(data).decode()}
        found = self._call("POST", f"encrypt/{PREFIX}{name}", said)
        return str(found["ciphertext"]).encode()

    def unwrap(self, name: str, wrapped: bytes) -> bytes:
        """See `Holder.unwrap`."""
        said = {"ciphertext": wrapped.decode("ascii", errors="replace")}
        found = self._call("POST", f"decrypt/{PREFIX}{name}", said, name)
        try:
            return base64.b64decode(str(found["plaintext"]), validate=True)
        except (KeyError, binascii.Error) as error:
            raise other_key(name) from error

    def destroy(self, name: str) -> str:
        """See `Holder.destroy`. A service that has no such key has destroyed it."""
        path = f"keys/{PREFIX}{name}"
        found = self._call("POST", f"{path}/config", {"deletion_allowed": True}, missing=True)
        if found is not None:
            self._call("DELETE", path, None, missing=True)
        return f"{self._spec.url} was told to delete {PREFIX}{name}; its own backups count"

    def _call(
        self, method: str, path: str, said: Any, unwrapping: str = "", *, missing: bool = False
    ) -> Any:
        spec, parts = self._spec, urlsplit(self._spec.url)
        try:
            token = Path(spec.token_file).read_text().strip()
            connection = self._open(parts.hostname or "", parts.port)
        except (OSError, ssl.SSLError) as error:
            raise _unreachable(spec, str(error)) from error
        whole = f"{parts.path.rstrip('/')}/v1/{quote(spec.mount)}/{path}"
        headers = {"X-Vault-Token": token, "Content-Type": "application/json"}
        try:
            body = None if said is None else msgspec.json.encode(said)
            connection.request(method, whole, body, headers)
            answer = connection.getresponse()
            data = answer.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(spec, str(error)) from error
        finally:
            connection.close()
        return _read(spec, answer.status, data, unwrapping, missing=missing)

    def _open(self, host: str, port: int | None) -> http.client.HTTPConnection:
        if self._spec.url.startswith("http://"):
            return http.client.HTTPConnection(host, port, timeout=SECONDS)
        context = ssl.create_default_context(cafile=self._spec.ca_file or None)
        return http.client.HTTPSConnection(host, port, timeout=SECONDS, context=context)


def _read(spec: HolderSpec, status: int, data: bytes, unwrapping: str, *, missing: bool) -> Any:
    """Return what an answer carries; None where a key that is `missing` is no mistake."""
    why = _reasons(data)
    if status < 300:
        try:
            found = msgspec.json.decode(data or b"{}")
        except msgspec.DecodeError as error:
            raise ENGINE_FAILED(f"The answer of {spec.url} cannot be read.", why=str(error)) from (
                error
            )
        return (found.get("data") or {}) if isinstance(found, dict) else {}
    if missing and (status == 404 or "not found" in why or "no existing key" in why):
        return None
    if unwrapping and (status == 404 or (status == 400 and "key not found" in why)):
        raise gone(unwrapping)
    if unwrapping and status == 400:
        raise other_key(unwrapping)
    if status in (401, 403):
        raise DENIED(f"{spec.url} refuses the token in {spec.token_file}.", why=why)
    if status >= 500:
        raise _unreachable(spec, f"HTTP {status} {why}")
    raise ENGINE_FAILED(f"{spec.url} answers HTTP {status}.", why=why, hint="skerry keys holders")


def _reasons(data: bytes) -> str:
    try:
        found = msgspec.json.decode(data or b"{}")
    except msgspec.DecodeError:
        return ""
    errors = found.get("errors", []) if isinstance(found, dict) else []
    return "; ".join(str(each) for each in errors)[:500]


def _unreachable(spec: HolderSpec, why: str) -> Exception:
    return STORE_UNREACHABLE(
        f"The key management service {spec.url} does not answer.", why=why, hint="skerry keys list"
    )
