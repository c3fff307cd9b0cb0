"""Where other nodes reach this one: what its operator said, or else the address it listens on."""

from __future__ import annotations

import ipaddress

from skerry.federation.calls import address_of
from skerry.federation.service import SERVICE
from skerry.kernel.errors import INVALID

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 (compared, not bound)


def own_url(host: str, port: int) -> str:
    """Return the URL of what listens on an address; none if nothing does, or if it is no one's."""
    if not port or host in EVERYWHERE:
        return ""
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def is_loopback(url: str) -> bool:
    """Tell whether a federation URL leads to no machine but one's own; raise INVALID."""
    return _is_near(address_of(url)[0])


def check_reached(said: str, host: str, word: str, by: str = "") -> None:
    """Raise INVALID if nothing says where other nodes reach this one, or says it badly.

    `said` is what the operator says, `host` where the federation listens, `by` the URL of the node
    that is to reach this one if that is known, and `word` what `skerry node` was told.
    """
    if said:
        address_of(said)
        return
    if host in EVERYWHERE:
        why = f"It listens on all addresses of its machine ({host})."
    elif by and _is_near(host) and not is_loopback(by):
        why = f"It listens for this machine alone ({host}), and the other one is at {by}."
    else:
        return
    port = SERVICE.ports["federation"]
    raise INVALID(
        "Say where other nodes reach this one.",
        why=why,
        hint=f"skerry node {word} --url https://<its name>:{port}, "
        "and host under [federation] in config.toml",
    )


def _is_near(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
