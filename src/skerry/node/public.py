"""Where clients reach a node: its own port, or a web server in front of it that ends TLS."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from skerry.kernel.errors import CONFIG_INVALID
from skerry.node.home import NodeConfig

HINT = "skerry docs domain-and-tls"


@dataclass(frozen=True, slots=True)
class Public:
    """The web server in front: `url` is '' if there is none, and `proxies` are its addresses."""

    url: str
    proxies: frozenset[bytes]

    def host_url(self, label: str, domain: str, own_port: int) -> str:
        """Return the URL of a name below the domain, without a slash at its end."""
        if not self.url:
            return f"http://{label}.{domain}:{own_port}"
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{label}.{parts.netloc}"

    def port(self, own_port: int) -> int:
        """Return the port that clients of HTTP connect to."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80) if self.url else own_port


def is_here(host: str) -> bool:
    """Tell whether a name or an address is one of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def public_of(config: NodeConfig) -> Public:
    """Read the settings; raise CONFIG_INVALID."""
    url = config.public_url.rstrip("/")
    if not url:
        return Public("", frozenset())
    try:
        parts = urlsplit(url)
        _ = parts.port
        proxies = frozenset(str(ip_address(each)).encode() for each in config.proxies)
    except ValueError as error:
        raise CONFIG_INVALID(
            "public-url or proxies in config.toml are no addresses.", why=str(error), hint=HINT
        ) from error
    if parts.scheme not in ("http", "https") or parts.path or parts.query or "@" in parts.netloc:
        raise CONFIG_INVALID(
            f"public-url is {config.public_url!r}, and no address like https://{config.domain}.",
            hint=HINT,
        )
    if parts.hostname != config.domain:
        raise CONFIG_INVALID(
            f"public-url names {parts.hostname}, and the domain is {config.domain}.",
            why="Apps are names below the domain, and the web server answers for all of them.",
            hint=HINT,
        )
    return Public(url, proxies)
