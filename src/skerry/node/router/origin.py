"""Keeping apps out of the console's origin.

What a path (`/@app/…`) or a credential selects has the origin of the console, and its scripts could
act with an operator's session. So a browser that opens a page there is sent to the app's own host
where that has a name, and elsewhere the page is sandboxed: its origin is then nobody's. No app ever
receives the console's cookie. Programs (curl, SDKs) do not notice.
"""

from __future__ import annotations

from skerry.kernel.names import host_label
from skerry.node.router.head import RequestHead
from skerry.node.router.targets import Target

SANDBOX = (
    b"Content-Security-Policy: sandbox allow-downloads allow-forms allow-modals allow-popups "
    b"allow-scripts\r\n"
)
_LOOPBACK = frozenset({b"127.0.0.1", b"localhost", b"[::1]"})
_PAGES = frozenset({b"document", b"iframe", b"frame", b"embed", b"object"})


def opens_page(head: RequestHead) -> bool:
    """Tell whether a browser asks for something to show as a page, as far as it says so.

    Browsers send `Sec-Fetch-Dest` to hosts that they trust (W3C Fetch Metadata), and
    `Upgrade-Insecure-Requests` to the others.
    """
    wanted = head.header(b"sec-fetch-dest")
    if wanted is not None:
        return wanted.lower() in _PAGES
    return head.header(b"upgrade-insecure-requests") == b"1"


def own_address(head: RequestHead, target: Target, domain: str) -> bytes | None:
    """Return the address at which a page that a path selected has an origin of its own.

    None where no such name is sure to lead here.
    """
    host, colon, port = head.host.partition(b":")
    if not target.prefix or host not in _LOOPBACK:
        return None
    label = target.own_host or host_label(target.app, target.branch, target.resource)
    return b"http://%b.%b%b%b%b" % (label.encode(), domain.encode(), colon, port, target.path)


def redirect(address: bytes) -> bytes:
    """Return the response that sends a browser to another address."""
    return (
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: %b\r\nContent-Length: 0\r\n"
        b"Vary: Sec-Fetch-Dest\r\nConnection: close\r\n\r\n" % address
    )


def sandboxed(data: bytes) -> bytes:
    """Return the first bytes of a response with the header that makes its page nobody's."""
    line, mark, rest = data.partition(b"\r\n")
    return line + mark + SANDBOX + rest if mark else data
