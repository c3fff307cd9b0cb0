"""TLS between nodes: both sides show a certificate, and only bound nodes' are accepted."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterable
from pathlib import Path

from skerry.federation.identity import Identity

TUNNEL = "skerry-tunnel/1"
"""The protocol of connections that are relayed to the node's router (ALPN, RFC 7301)."""

PORT = "skerry-port/1/"
"""The beginning of the protocol of connections that are relayed to a port wire, by its name."""

RESOURCE = "skerry-resource/1"
"""The protocol of connections to one resource; their first line is its id."""

_HTTP = "http/1.1"


def server_context(
    identity: Identity, authorities: Iterable[str], wires: Iterable[str] = ()
) -> ssl.SSLContext:
    """Return the context of the federation port, which leads to the port wires named as well.

    A client without a certificate gets through the handshake, for it may hold an invitation; one
    with a certificate that no bound node has signed does not.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _prepare(context, identity, authorities)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols([TUNNEL, RESOURCE, *(f"{PORT}{wire}" for wire in wires), _HTTP])
    return context


def client_context(identity: Identity, authority: str, tunnel: str = "") -> ssl.SSLContext:
    """Return the context in which one peer is called, or a tunnel to it is opened."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    _prepare(context, identity, [authority])
    context.set_alpn_protocols([tunnel or _HTTP])
    return context


def joining_context() -> ssl.SSLContext:
    """Return the context in which a node that invited us is called for the first time.

    It is known by its key alone, which whoever joins compares with the invitation's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _prepare(context: ssl.SSLContext, identity: Identity, authorities: Iterable[str]) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with tempfile.TemporaryDirectory(prefix="skerry-tls-") as folder:
        # The ssl module reads a key from a file only; the folder is closed to other users.
        path = Path(folder) / "node.pem"
        path.touch(mode=0o600)
        path.write_bytes(identity.certificate())
        context.load_cert_chain(path)
    known = "".join(authorities)
    if known:
        context.load_verify_locations(cadata=known)
