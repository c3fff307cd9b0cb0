"""A request's head: what the router reads of it, and what it writes of it towards the target."""

from __future__ import annotations

from dataclasses import dataclass, field

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


CONSOLE_COOKIE = "skerry-session"
"""What the names of the console's cookies start with."""


@dataclass(slots=True)
class RequestHead:
    """A head as it arrived: header names as sent, target as sent."""

    target: bytes = b""
    method: bytes = b""
    version: bytes = b"1.1"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    host: bytes = b""
    upgrade: bool = False
    chunked: bool = False
    keep_alive: bool = True

    def add(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        lower = name.lower()
        if lower == b"host":
            self.host = value
        elif lower == b"upgrade":
            self.upgrade = True
        elif lower == b"transfer-encoding":
            self.chunked = value.lower() == b"chunked"
        self.headers.append((name, value))

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of that lower-case name."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    def as_claim(self) -> Head:
        """Return the head as claims of wires read it."""
        path, _, query = self.target.partition(b"?")
        headers = tuple((name.lower(), value) for name, value in self.headers)
        return Head(self.method, path, query, headers)

    def towards(self, target: bytes, prefix: bytes, client: bytes, *, to_node: bool) -> bytes:
        """Return the bytes of the head for the chosen target; only the node sees its cookies."""
        lines = [b"%b %b HTTP/%b" % (self.method, target, self.version)]
        for name, value in self.headers:
            lower = name.lower()
            if lower == b"cookie" and not to_node:
                value = _foreign_cookies(value)  # noqa: PLW2901 (the header as it is passed on)
            if value and lower not in _DROPPED:
                lines.append(b"%b: %b" % (name, value))
        if self.upgrade:
            lines.append(b"Connection: Upgrade")
        lines.append(b"X-Forwarded-For: " + client)
        lines.append(b"X-Forwarded-Proto: http")
        if self.host:
            lines.append(b"X-Forwarded-Host: " + self.host)
        if prefix:
            lines.append(b"X-Forwarded-Prefix: " + prefix)
        return b"\r\n".join(lines) + b"\r\n\r\n"


def _foreign_cookies(value: bytes) -> bytes:
    """Return a Cookie header without the console's own cookies (RFC 6265, section 4.2)."""
    ours = CONSOLE_COOKIE.encode()
    return b"; ".join(
        pair for each in value.split(b";") if (pair := each.strip()) and not pair.startswith(ours)
    )
