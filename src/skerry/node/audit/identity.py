"""The keys that a node signs its audit log and other logs' heads with, derived from its own key."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from skerry.kernel.keys import derive
from skerry.node.audit.note import COSIGNATURE, Signer
from skerry.node.home import write_secret


def audit_signer(node: str, node_key: bytes, directory: Path) -> Signer:
    """Return the signer of the log in a directory. Its name, the log's origin, never changes.

    It names the node as it was called when the log began, and the key.
    """
    seed = derive(node_key, "audit", "log")
    file = directory / "origin"
    if not file.exists():
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        digest = hashlib.sha256(public).hexdigest()[:12]
        write_secret(file, f"skerry/{node}/{digest}\n".encode())
    return Signer.make(file.read_text().strip(), seed)


def witness_signer(log: Signer, node_key: bytes) -> Signer:
    """Return the signer with which the node vouches for heads of other logs."""
    return Signer.make(f"{log.name}/witness", derive(node_key, "audit", "witness"), COSIGNATURE)
