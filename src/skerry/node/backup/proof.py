"""Signatures under proofs, so that a drill's result can be shown to somebody else.

The key is Ed25519 (RFC 8032), derived from the node's own and never stored.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from skerry.kernel.errors import CORRUPT
from skerry.kernel.keys import derive
from skerry.node.backup.history import Proof, Signed

AUDITED = "backup-drill"
"""The sort of a drill's entry in the audit log."""


class Signer:
    """Signs with the node's key for proofs of backups."""

    def __init__(self, node_key: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(derive(node_key, "backup", "proof"))
        self.public = _text(self._key.public_key().public_bytes_raw())

    def sign(self, proof: Proof) -> Signed:
        """Return a proof with its signature."""
        return Signed(proof, self.public, _text(self._key.sign(canonical(proof))))


def audited(signed: Signed) -> dict[str, Any]:
    """Return what the audit log says of a drill: the whole proof, so that it can be checked."""
    proof = signed.proof
    return {
        "app": proof.app,
        "branch": proof.branch,
        "result": "proven" if proof.ok else proof.problem,
        "proof": msgspec.to_builtins(proof),
        "key": signed.key,
        "signature": signed.signature,
    }


def canonical(proof: Proof) -> bytes:
    """Return the bytes that are signed: JSON with sorted keys."""
    return msgspec.json.encode(proof, order="sorted")


def verify(signed: Signed) -> None:
    """Raise CORRUPT unless the signature under a proof is that of the key it names."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(signed.key))
        key.verify(base64.b64decode(signed.signature), canonical(signed.proof))
    except (InvalidSignature, ValueError) as error:
        raise CORRUPT("The signature under a proof of a restore is wrong.") from error


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
