"""What every vendor's wire shares: one request, one reply, and failures in the vendor's shape."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from skerry.kernel.errors import INTERNAL, INVALID, TOO_LARGE, UNAUTHENTICATED, SkerryError
from skerry.kinds.quantum import claim
from skerry.kinds.quantum.desk import Desk

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

BODY_MAX = 32 << 20
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `body` is bytes as they are, or anything else as JSON."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "application/json"

    def encoded(self) -> bytes:
        """Return the bytes of the body."""
        return self.body if isinstance(self.body, bytes) else _encoder.encode(self.body)


class Call:
    """One request. `raw_path` is as it was sent, without the prefix that led to the resource.

    `path` is decoded and, like `parts`, without the vendor's folder. `hybrid` is the id of the
    hybrid job whose script sends it, if one does.
    """

    def __init__(
        self, desk: Desk, folder: str, scope: MutableMapping[str, Any], receive: Receive
    ) -> None:
        self.desk = desk
        self.hybrid = ""
        self.method: str = scope["method"]
        self.headers: dict[str, str] = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in reversed(scope["headers"])
        }
        self.raw_path: str = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        self.raw_query: str = scope["query_string"].decode("latin-1")
        self.query = dict(parse_qsl(self.raw_query, keep_blank_values=True))
        base = f"/{folder}"
        rest = self.raw_path
        if rest == base or rest.startswith(f"{base}/"):
            rest = rest[len(base) :] or "/"
        self.parts = tuple(unquote(each) for each in rest.strip("/").split("/"))
        self.path = unquote(rest)
        self._receive = receive
        self._body: bytes | None = None

    @property
    def root(self) -> str:
        """Where this request's client reaches the node, for URLs in answers."""
        host = self.headers.get("host", "")
        return f"{self.headers.get('x-forwarded-proto', 'http')}://{host}"

    @property
    def base(self) -> str:
        """Where this request's client reaches the vendor's folder, for URLs in answers."""
        return f"{self.root}{self.headers.get('x-forwarded-prefix', '').rstrip('/')}"

    async def body(self, limit: int = BODY_MAX) -> bytes:
        """Return the body; raise TOO_LARGE beyond a limit."""
        if self._body is None:
            chunks, size, more = [], 0, True
            while more:
                message = await self._receive()
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > limit:
                    raise TOO_LARGE(f"A request has at most {limit >> 20} MiB.")
                more = message.get("more_body", False)
            self._body = b"".join(chunks)
        return self._body

    def replace(self, body: bytes) -> None:
        """Take what a body decodes to for the body."""
        self._body = body

    async def json(self) -> dict[str, Any]:
        """Return the body as an object; raise INVALID if it is none."""
        try:
            found = msgspec.json.decode(await self.body())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise INVALID("The body is not JSON.", why=str(error)) from error
        if not isinstance(found, dict):
            raise INVALID("The body is not a JSON object.")
        return found

    def authenticate(self, presented: str) -> None:
        """Raise UNAUTHENTICATED unless the resource's token is presented."""
        context = self.desk.context
        if not claim.matches(presented, context.id, context.keys):
            raise UNAUTHENTICATED(
                "The request has no valid token.", hint=f"skerry connect {context.ref.name}"
            )

    def bearer(self) -> str:
        """Return what the Authorization header holds after its scheme, or nothing."""
        return self.headers.get("authorization", "").partition(" ")[2].strip()


@dataclass(frozen=True, slots=True)
class Vendor:
    """A vendor's wire: how it answers, and how it tells a failure."""

    folder: str
    answer: Callable[[Call], Awaitable[Reply]]
    refuse: Callable[[Call, SkerryError], Reply]


async def serve(
    vendor: Vendor, desk: Desk, scope: MutableMapping[str, Any], receive: Receive, send: Send
) -> None:
    """Answer one request; a defect is logged and told as the vendor tells its own."""
    call = Call(desk, vendor.folder, scope, receive)
    try:
        reply = await vendor.answer(call)
    except SkerryError as error:
        reply = vendor.refuse(call, error)
    except msgspec.MsgspecError as error:
        reply = vendor.refuse(call, INVALID("The request is malformed.", why=str(error)))
    except Exception:
        desk.context.log.exception("%s %s", call.method, call.raw_path[:200])
        reply = vendor.refuse(call, INTERNAL("The request could not be carried out."))
    await _send(reply, send, head=call.method == "HEAD")


async def _send(reply: Reply, send: Send, *, head: bool) -> None:
    body = reply.encoded()
    headers = {"content-type": reply.kind, "content-length": str(len(body)), **reply.headers}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if head else body})
