"""The ladder of evidence, what counts when facts disagree, and the operator's file."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from skerry.kernel.errors import CONFIG_INVALID, SkerryError
from skerry.kernel.policy import Evidence, Fact
from skerry.node.audit.note import LOG, Signer
from skerry.node.policy.atlas import atlas
from skerry.node.policy.facts import Settled, counted, is_attested, read_facts, settle, statement

TODAY = "2026-11-27"
DOCUMENTED = Fact(
    "provider/x",
    "seat",
    "SE",
    Evidence.DOCUMENTED,
    source="https://example.org/x.pdf",
    sha256="ab" * 32,
    expires="2027-01-01",
)


def test_evidence_counts_until_it_expires() -> None:
    assert counted(DOCUMENTED, "2027-01-01") == DOCUMENTED
    late = counted(DOCUMENTED, "2027-01-02")
    assert late.evidence is Evidence.DECLARED
    assert late.note == "documented before: expired on 2027-01-01"


@pytest.mark.parametrize("lacking", ["source", "sha256", "expires"])
def test_a_document_needs_all_of_it(lacking: str) -> None:
    fact = msgspec.structs.replace(DOCUMENTED, **{lacking: ""})
    assert counted(fact, TODAY).evidence is Evidence.DECLARED


def test_the_best_evidence_counts_and_the_rest_is_shown() -> None:
    said = Fact("provider/x", "seat", "US")
    settled = settle([said, DOCUMENTED], TODAY)
    assert (settled.fact, settled.conflicts) == (DOCUMENTED, (said,))
    assert not settled.undecided


def test_equally_good_facts_that_differ_are_undecided_and_sets_unite() -> None:
    assert settle([Fact("p", "seat", "US"), Fact("p", "seat", "SE")], TODAY).undecided
    one, other = Fact("p", "affiliates", ("SE",)), Fact("p", "affiliates", ("US",))
    settled = settle([one, other], TODAY)
    assert settled.fact.value == ("SE", "US") and not settled.undecided


def attested(key: Ed25519PrivateKey, fact: Fact) -> Fact:
    by = str(Signer("auditor.example/1", LOG, key).verifier)
    fact = msgspec.structs.replace(fact, evidence=Evidence.ATTESTED, by=by, expires="2027-01-01")
    signature = base64.b64encode(key.sign(statement(fact).encode())).decode()
    return msgspec.structs.replace(fact, signature=signature)


def test_an_attestation_is_a_signature_over_what_is_said() -> None:
    key = Ed25519PrivateKey.generate()
    fact = attested(key, Fact("provider/x", "seat", "SE"))
    assert is_attested(fact)
    for change in ({"value": "US"}, {"subject": "provider/y"}, {"expires": "2099-01-01"}):
        assert not is_attested(msgspec.structs.replace(fact, **change))
    assert not is_attested(msgspec.structs.replace(fact, signature="no base64"))
    other = attested(Ed25519PrivateKey.generate(), Fact("provider/x", "seat", "SE"))
    assert not is_attested(msgspec.structs.replace(fact, by=other.by))


def test_the_operators_file(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    good = attested(key, Fact("provider/x", "seat", "SE"))
    unknown = attested(Ed25519PrivateKey.generate(), Fact("provider/x", "owner", "X"))
    forged = msgspec.structs.replace(good, value="US")
    measured = Fact("node/n", "residency", "R2", Evidence.MEASURED, index=3, expires="2099-01-01")
    path = tmp_path / "facts.toml"
    assert read_facts(path) == []
    document = {
        "attesters": [good.by],
        "fact": [
            msgspec.to_builtins(fact) for fact in (DOCUMENTED, good, unknown, forged, measured)
        ],
    }
    path.write_text(_toml(document))
    found = read_facts(path)
    assert [fact.evidence for fact in found] == [
        Evidence.DOCUMENTED,
        Evidence.ATTESTED,
        Evidence.DECLARED,
        Evidence.DECLARED,
        Evidence.DECLARED,
    ]
    assert "not among those" in found[2].note
    assert "signature" in found[3].note
    assert "probes" in found[4].note


def _toml(document: Mapping[str, object]) -> str:
    facts = document["fact"]
    assert isinstance(facts, list)
    lines = [f"attesters = {document['attesters']}"]
    for fact in facts:
        lines.append("[[fact]]")
        said = {key: value for key, value in fact.items() if value is not None}
        lines += [f"{key} = {value!r}" for key, value in said.items()]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text", ["[[fact]]\nname = 3", "fact = 3", "not toml", '[[fact]]\nsubject = "a"\nwhat = 1']
)
def test_a_file_that_is_wrong_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "facts.toml").write_text(text)
    with pytest.raises(SkerryError) as raised:
        read_facts(tmp_path / "facts.toml")
    assert raised.value.problem is CONFIG_INVALID


def test_the_atlas_says_where_it_has_everything_from() -> None:
    found = atlas()
    assert {group.name: len(group.members) for group in found.groups} == {
        "EU": 27,
        "EEA": 30,
        "EFTA": 4,
    }
    for group in found.groups:
        assert group.source and group.date and group.evidence
    for name in found.providers:
        for fact in found.facts(name):
            assert fact.source and fact.date
            assert fact.evidence is (Evidence.DOCUMENTED if fact.sha256 else Evidence.DECLARED)


def test_adequacy_has_an_end_and_partial_decisions_do_not_count() -> None:
    found = atlas()
    assert found.adequate("JP", TODAY) and not found.adequate("US", TODAY)
    assert found.adequate("GB", "2031-12-27") and not found.adequate("GB", "2031-12-28")
    assert found.groups_of("SE", TODAY) == ["EU", "EEA"]
    assert "Data Privacy Framework" in found.transfer_basis("US", TODAY)
    assert "Article 46" in found.transfer_basis("CN", TODAY)
    assert found.transfer_basis("NO", TODAY) == "none needed: within the EEA"


def test_a_host_tells_provider_and_country_by_its_longest_ending() -> None:
    found = atlas()
    assert found.endpoint("mine.fsn1.your-objectstorage.com") == ("hetzner", "DE")
    assert found.endpoint("x.your-objectstorage.com.") == ("hetzner", "")
    assert found.endpoint("S3.EU-NORTH-1.amazonaws.com") == ("aws", "SE")
    assert found.endpoint("evilyour-objectstorage.com") is None
    assert found.endpoint("") is None


DOCUMENTED_FACTS = {"affiliates", "certificates", "controllers", "owner", "seat", "sites"}


def test_documents_bear_rows_out_or_contradict_them() -> None:
    """What a provider publishes counts for more than the row, which is shown beside it."""
    shipped = atlas()
    for name, provider in shipped.providers.items():
        assert bool(provider.document) != bool(provider.lacking), name
        assert set(provider.read) <= DOCUMENTED_FACTS, name
        assert all(each.startswith("https://") for each in provider.read.values()), name
        said = set()
        for document in provider.document:
            assert len(document.sha256) == 64 and document.source.startswith("https://")
            assert document.date < document.expires and document.about
            said |= set(document.says)
        assert said <= DOCUMENTED_FACTS, name
        for each in DOCUMENTED_FACTS:
            found = [fact for fact in shipped.facts(name) if fact.name == each]
            if not found:
                assert each not in said
                continue
            settled = settle(found, "2026-11-27")
            documented = settled.fact.evidence is Evidence.DOCUMENTED
            assert documented == (each in said), (name, each)
            assert not settled.undecided, (name, each)
            assert settle(found, "2099-01-01").fact.evidence is Evidence.DECLARED
    assert sum(bool(each.document) for each in shipped.providers.values()) >= 26


def settled_now(name: str, fact: str) -> Settled:
    return settle([x for x in atlas().facts(name) if x.name == fact], "2026-11-27")


def test_what_documents_contradict_is_shown() -> None:
    scaleway = settled_now("scaleway", "sites")
    assert scaleway.fact.value == ("FR", "NL", "PL")
    assert [set(each.value) for each in scaleway.conflicts] == [{"FR", "IT", "NL", "PL", "SE"}]
    assert settled_now("ionos", "sites").conflicts == ()
    ovh = settled_now("ovhcloud", "owner")
    assert (ovh.fact.value, [each.value for each in ovh.conflicts]) == (
        "OVH SAS",
        ["OVH Groupe SA"],
    )
    assert settled_now("pasqal", "sites").fact.value == ("FR", "SA"), "its own pages name both"
    assert settled_now("exoscale", "seat").fact.source == "https://www.exoscale.com/dpa/"
    assert settled_now("stackit", "owner").fact.note.startswith("no document: ")
