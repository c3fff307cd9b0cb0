"""Facts: how much a fact counts today, and what follows when facts disagree.

The ladder is declared < documented < attested < measured. Evidence that lacks what its grade asks
for, or whose last day is over, counts as declared: it is not forgotten, it is only worth less.
"""

from __future__ import annotations

import base64
import binascii
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from skerry.kernel.errors import CONFIG_INVALID, SkerryError
from skerry.kernel.policy import Evidence, Fact
from skerry.node.audit.note import Verifier

FILE_BYTES_MAX = 4 << 20
SETS = frozenset({"affiliates", "certificates", "controllers", "sites"})
"""Names of facts whose value is a set: of facts that are equally good, the union counts."""


class Settled(NamedTuple):
    """What counts of all facts of one name: the fact, and those that contradict it."""

    fact: Fact
    conflicts: tuple[Fact, ...]
    undecided: bool


def counted(fact: Fact, today: str) -> Fact:
    """Return a fact with the evidence that counts today (an ISO date), and why if it is less."""
    lacking = _lacking(fact, today)
    if not lacking:
        return fact
    note = f"{fact.evidence} before: {lacking}"
    note = f"{fact.note}; {note}" if fact.note else note
    return msgspec.structs.replace(fact, evidence=Evidence.DECLARED, note=note)


def _lacking(fact: Fact, today: str) -> str:
    if fact.evidence is Evidence.DECLARED:
        return ""
    if fact.expires and fact.expires < today:
        return f"expired on {fact.expires}"
    if fact.evidence is Evidence.DOCUMENTED and not (fact.source and fact.sha256 and fact.expires):
        return "a document needs its address, its SHA-256 and an expiry"
    if fact.evidence is Evidence.ATTESTED and not (fact.by and fact.signature and fact.expires):
        return "an attestation needs its key, its signature and an expiry"
    if fact.evidence is Evidence.MEASURED and (fact.index is None or not fact.expires):
        return "a measurement needs its entry in the audit log and an expiry"
    return ""


def settle(facts: Sequence[Fact], today: str) -> Settled:
    """Settle what counts of facts of one subject and name.

    The best evidence counts. Of equally good facts that differ, sets are united, which is the
    cautious reading of who is involved; a single value stays undecided.
    """
    graded = [counted(each, today) for each in facts]
    top = max(each.evidence.rank for each in graded)
    best = [each for each in graded if each.evidence.rank == top]
    differing = tuple(each for each in graded if _values(each) != _values(best[0]))
    fact = best[0]
    if fact.name in SETS and len(best) > 1:
        united = tuple(sorted({value for each in best for value in _values(each)}))
        fact = msgspec.structs.replace(fact, value=united)
        return Settled(fact, differing, undecided=False)
    return Settled(fact, differing, undecided=any(each in differing for each in best))


def _values(fact: Fact) -> tuple[str, ...]:
    return (fact.value,) if isinstance(fact.value, str) else tuple(sorted(fact.value))


def statement(fact: Fact) -> str:
    """Return the text that an attester signs: what is said, without how well it is supported."""
    said = msgspec.structs.replace(
        fact, evidence=Evidence.DECLARED, by="", signature="", index=None, note=""
    )
    return "skerry fact v1\n" + msgspec.json.encode(said, order="sorted").decode()


def is_attested(fact: Fact) -> bool:
    """Tell whether the signature is the attester's; `by` is a verifier key (C2SP signed-note)."""
    try:
        key = Verifier.parse(fact.by)
        signature = base64.b64decode(fact.signature, validate=True)
    except (SkerryError, binascii.Error):
        return False
    return key.verifies(statement(fact), signature) is not None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    fact: list[Fact] = []
    attesters: list[str] = []


def read_facts(path: Path) -> list[Fact]:
    """Read the operator's facts (TOML); raise CONFIG_INVALID if they are not well-formed.

    Attestations count if an attester that the file trusts signed them; measurements never come from
    a file.
    """
    if not path.exists():
        return []
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise CONFIG_INVALID(f"{path} has more than {FILE_BYTES_MAX} bytes.")
        file = msgspec.convert(tomllib.loads(path.read_text()), _File)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise CONFIG_INVALID(f"{path}: {error}.", hint="skerry docs evidence") from error
    return [_as_read(each, file.attesters) for each in file.fact]


def _as_read(fact: Fact, attesters: Iterable[str]) -> Fact:
    if fact.evidence is Evidence.MEASURED:
        return _weaker(fact, "only a node's own probes measure")
    if fact.evidence is Evidence.ATTESTED and fact.by not in attesters:
        return _weaker(fact, "its attester is not among those that this node trusts")
    if fact.evidence is Evidence.ATTESTED and not is_attested(fact):
        return _weaker(fact, "the signature does not match")
    return fact


def _weaker(fact: Fact, why: str) -> Fact:
    return msgspec.structs.replace(fact, evidence=Evidence.DECLARED, note=why)
