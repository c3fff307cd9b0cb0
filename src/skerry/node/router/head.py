"""A request's head: what the router reads of it, and what it writes of it towards the target."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from skerry.kernel.errors import INVALID, TOO_LARGE, UNSUPPORTED
from skerry.kernel.kind import Head

_DROPPED = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-forwarded-prefix",
        b"forwarded",
    }
)
"""What belongs to one hop, and what only the router may say."""

HEAD_BYTES_MAX = 64 * 1024
_UNTOUCHABLE = frozenset({b"host", b"content-length", b"transfer-encoding"})
"""What frames and routes a request; no `Connection` header takes it away."""


_ADDRESS = re.compile(rb"[0-9A-Fa-f.:]{2,45}")

CONSOLE_COOKIE = "skerry-session"
"""What the names of the console's cookies start with."""


class Seen(NamedTuple):
    """Who is asking, by address, and whether over TLS."""

    client: bytes
    is_secure: bool = False


@dataclass(slots=True)
class RequestHead:
    """A head as it arrived: header names as sent, target in origin form."""

    target: bytes = b""
    method: bytes = b""
    version: bytes = b"1.1"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    host: bytes = b""
    upgrade: bool = False
    chunked: bool = False
    has_body: bool = False
    keep_alive: bool = True
    size: int = 0
    hosts: int = 0
    options: frozenset[bytes] = frozenset()

    def add(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        self.size += len(name) + len(value) + 4
        if self.size > HEAD_BYTES_MAX:
            raise TOO_LARGE(f"A request's head has at most {HEAD_BYTES_MAX} bytes.")
        lower = name.lower()
        if lower == b"host":
            self.host = value
            self.hosts += 1
        elif lower == b"upgrade":
            self.upgrade = value.strip().lower() == b"websocket"
        elif lower == b"connection":
            self.options |= {each.strip().lower() for each in value.split(b",")} - _UNTOUCHABLE
        elif lower == b"transfer-encoding":
            if self.chunked or value.lower() != b"chunked":
                raise UNSUPPORTED("The only transfer coding is chunked, once.")
            self.chunked = self.has_body = True
        elif lower == b"content-length":
            self.has_body = value.strip() != b"0"
        self.headers.append((name, value))

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of that lower-case name."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    def check(self) -> None:
        """Refuse, once the head is whole, what could be read in two ways (RFC 9112).

        An absolute target is brought into origin form; its authority is the host that counts.
        """
        if self.version not in (b"1.0", b"1.1"):
            raise INVALID("The router speaks HTTP/1.1.")
        if self.method == b"CONNECT":
            raise UNSUPPORTED("The router is no proxy: it does not CONNECT.")
        if self.hosts > 1 or (self.hosts == 0 and self.version == b"1.1"):
            raise INVALID("A request names its host once.")
        if self.target.lower().startswith((b"http://", b"https://")):
            authority, slash, path = self.target.split(b"//", 1)[1].partition(b"/")
            self.host, self.target = authority, slash + path or b"/"
            kept = [each for each in self.headers if each[0].lower() != b"host"]
            self.headers = [(b"Host", authority), *kept]
        if not self.target.startswith(b"/") and self.target != b"*":
            raise INVALID("A request's target is a path.")

    def as_claim(self) -> Head:
        """Return the head as claims of wires read it."""
        path, _, query = self.target.partition(b"?")
        headers = tuple((name.lower(), value) for name, value in self.headers)
        return Head(self.method, path, query, headers)

    def told(self, proxy: bytes) -> Seen:
        """Return whom a proxy that is believed speaks for: the last client that it names."""
        chain = [value for name, value in self.headers if name.lower() == b"x-forwarded-for"]
        client = chain[-1].rpartition(b",")[2].strip() if chain else b""
        proto = (self.header(b"x-forwarded-proto") or b"").strip().lower()
        return Seen(client if _ADDRESS.fullmatch(client) else proxy, proto == b"https")

    def towards(self, target: bytes, prefix: bytes, seen: Seen, *, to_node: bool) -> bytes:
        """Return the bytes of the head for the chosen target; only the node sees its cookies."""
        lines = [b"%b %b HTTP/%b" % (self.method, target, self.version)]
        for name, value in self.headers:
            lower = name.lower()
            if self._is_dropped(lower):
                continue
            if lower == b"cookie" and not to_node:
                lines += [b"%b: %b" % (name, kept) for kept in _foreign_cookies(value)]
            else:
                lines.append(b"%b: %b" % (name, value))
        if self.upgrade:
            lines.append(b"Connection: Upgrade")
        lines.append(b"X-Forwarded-For: " + seen.client)
        lines.append(b"X-Forwarded-Proto: https" if seen.is_secure else b"X-Forwarded-Proto: http")
        if self.host:
            lines.append(b"X-Forwarded-Host: " + self.host)
        if prefix:
            lines.append(b"X-Forwarded-Prefix: " + prefix)
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _is_dropped(self, name: bytes) -> bool:
        """Tell whether a header goes no further; WSGI takes underscores for hyphens."""
        if name == b"upgrade":
            return not self.upgrade
        return name in self.options or name.replace(b"_", b"-") in _DROPPED


def _foreign_cookies(value: bytes) -> list[bytes]:
    """Return a Cookie header without the console's own cookies (RFC 6265), or nothing."""
    ours = CONSOLE_COOKIE.encode()
    pairs = [each.strip() for each in value.split(b";")]
    kept = b"; ".join(pair for pair in pairs if pair and not pair.startswith(ours))
    return [kept] if kept else []
