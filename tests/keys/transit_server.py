"""A key management service for tests: the part of the transit API that is used, over HTTP."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "s.transit-test"


class Transit:
    """Its keys, and whether each may be deleted."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.deletable: set[str] = set()
        self.away = False

    def answer(self, method: str, path: str, said: Any) -> tuple[int, Any]:
        if self.away:
            return 503, {"errors": ["Vault is sealed"]}
        words = path.removeprefix("/v1/transit/").split("/")
        what, name = words[0], words[1]
        if method == "POST" and what == "keys" and len(words) == 2:
            self.keys.setdefault(name, os.urandom(32))
            return 204, None
        if name not in self.keys:
            return (404, {"errors": []}) if method == "DELETE" else (400, _error("not found"))
        if what == "keys" and words[2:] == ["config"]:
            self.deletable.add(name)
            return 200, {"data": {}}
        if method == "DELETE":
            if name not in self.deletable:
                return 400, _error("deletion is not allowed for this key")
            del self.keys[name]
            return 204, None
        return self._cipher(what, AESGCM(self.keys[name]), said)

    def _cipher(self, what: str, cipher: AESGCM, said: Any) -> tuple[int, Any]:
        if what == "encrypt":
            nonce = os.urandom(12)
            data = nonce + cipher.encrypt(nonce, base64.b64decode(said["plaintext"]), None)
            return 200, {"data": {"ciphertext": f"vault:v1:{base64.b64encode(data).decode()}"}}
        data = base64.b64decode(said["ciphertext"].removeprefix("vault:v1:"))
        try:
            plain = cipher.decrypt(data[:12], data[12:], None)
        except InvalidTag:
            return 400, _error("cipher: message authentication failed")
        return 200, {"data": {"plaintext": base64.b64encode(plain).decode()}}


def _error(text: str) -> dict[str, list[str]]:
    return {"errors": [f"encryption key {text}" if text == "not found" else text]}


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[Transit, str, Path]]:
    """Yield the service, its URL, and the file with its token."""
    transit = Transit()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            said = json.loads(self.rfile.read(length) or b"null")
            status, found = 403, {"errors": ["permission denied"]}
            if self.headers["X-Vault-Token"] == TOKEN:
                status, found = transit.answer(self.command, self.path, said)
            body = b"" if found is None else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self._answer()

        def do_DELETE(self) -> None:
            self._answer()

        def log_message(self, *_: Any) -> None:
            pass

    token = folder / "transit-token"
    token.write_text(TOKEN + "\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield transit, f"http://127.0.0.1:{server.server_port}", token
        finally:
            server.shutdown()
            thread.join()
