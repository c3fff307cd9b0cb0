"""Requests to a resource's wire without a network between, signed for AWS where they must be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from skerry.kinds.quantum import claim
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.wire import make

HOST = "127.0.0.1:1"


@dataclass
class Answer:
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return msgspec.json.decode(self.body)


class Caller:
    """Speaks to one engine."""

    def __init__(self, engine: QuantumEngine) -> None:
        context = engine.context
        self.application = make(engine)
        self.token = claim.token(context.id, context.keys)
        self.access_key = claim.access_key(context.id)
        self.secret_key = claim.secret_key(context.keys)

    async def __call__(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send a request; `body` is bytes as they are, or anything else as JSON."""
        data = body if isinstance(body, bytes) else b"" if body is None else encoded(body)
        parts = urlsplit(path)
        named = {"host": HOST, **{k.lower(): v for k, v in (headers or {}).items()}}
        scope = {
            "type": "http",
            "method": method,
            "path": unquote(parts.path),
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "headers": [(k.encode(), v.encode()) for k, v in named.items()],
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": data, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.application(scope, receive, send)
        start, *rest = sent
        found = {k.decode(): v.decode() for k, v in start["headers"]}
        return Answer(start["status"], found, b"".join(each["body"] for each in rest))

    async def bearer(self, method: str, path: str, body: Any = None, token: str = "") -> Answer:
        """Send a request with the token."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return await self(method, path, body, headers)

    async def aws(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        service: str = "braket",
        secret: str = "",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send a request signed for a service of AWS."""
        data = body if isinstance(body, bytes) else b"" if body is None else encoded(body)
        request = AWSRequest(method, f"http://{HOST}{path}", data=data, headers=headers or {})
        keys = Credentials(self.access_key, secret or self.secret_key)
        signer = S3SigV4Auth if service == "s3" else SigV4Auth
        signer(keys, service, "eu-north-1").add_auth(request)
        return await self(method, path, data, dict(request.headers.items()))


def encoded(body: Any) -> bytes:
    """Return a body as JSON."""
    return msgspec.json.encode(body)
