"""`skerry audit verify`: needs a file and, for trust, a key; no node and no network."""

from __future__ import annotations

from pathlib import Path

from skerry.kernel.errors import INVALID
from skerry.node.audit.note import COSIGNATURE, LOG, Checkpoint, Verifier, parse_note
from skerry.node.audit.results import Verified
from skerry.node.audit.service import Verify
from skerry.node.audit.verify import Trust, verify_path


def verify(params: Verify) -> Verified:
    """Verify a file against what whoever verifies trusts."""
    key = Verifier.parse(params.key) if params.key else None
    if key is not None and key.kind != LOG:
        raise INVALID("That is the key of a witness.", hint="--witness")
    witnesses = tuple(Verifier.parse(each) for each in params.witness)
    if any(each.kind != COSIGNATURE for each in witnesses):
        raise INVALID("A witness signs with a key of its own kind.", hint="skerry audit key")
    if params.least > len(witnesses):
        raise INVALID(f"{params.least} signatures are asked for, of {len(witnesses)} witnesses.")
    known = Checkpoint.parse(parse_note(params.known).text) if params.known else None
    trust = Trust(key, witnesses, params.least, known)
    return verify_path(Path(params.file), trust)
