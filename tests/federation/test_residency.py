"""Grades of residency: what shows each, what does not, and what light contradicts."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.federation import quoting
from skerry.federation.identity import Identity
from skerry.federation.ranging import (
    EARTH_KM,
    KM_PER_SECOND,
    Echo,
    Echoed,
    Ranging,
    Seen,
    Spot,
    Stated,
    Statement,
    bound,
    read_spot,
)
from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import (
    CONFLICT,
    DENIED,
    INVALID,
    UNAUTHENTICATED,
    UNSUPPORTED,
    SkerryError,
)
from skerry.kernel.manifest import read_manifests
from skerry.kernel.policy import Evidence, Fact
from skerry.kernel.service import read_services
from skerry.node.audit.offline import verify
from skerry.node.audit.service import Verify
from skerry.node.dispatcher import Dispatcher
from skerry.node.node import Node, Options
from skerry.node.policy.residency import RANGE_KM_MAX
from skerry.surfaces.web import make_web
from skerry.testing.nodes import deploy, perform

from .test_binding import bind

SPOTS = {"rock": "59.3,18.1", "holm": "57.7,12.0", "ness": "55.6,13.0", "farm": "58.4,15.6"}
APP = '[app]\nname = "shop"\n[hello.book]\n[policy]\njurisdiction = ["EEA"]\nresidency_min = "R2"\n'
NEAR = (
    'cedar = \'@id("near") forbid(principal, action, resource) '
    "unless { resource.not_farther_km <= KM };'\n"
)


@contextlib.asynccontextmanager
async def light(home: Path, name: str, extra: str = "") -> AsyncIterator[Node]:
    home.mkdir(exist_ok=True)
    at = SPOTS[name]
    (home / "config.toml").write_text(
        f'owner = "{name} AB"\ncountry = "SE"\nat = [{at}]\ntpm-handle = "0x81010002"\n'
    )
    (home / "facts.toml").write_text(extra)
    options = Options(
        home=home, http_port=0, ports={"federation": 0}, name=name, volume_driver="copy"
    )
    kinds = read_manifests(["skerry.kinds.hello"])
    services = read_services(["skerry.federation", "skerry.node.audit", "skerry.node.policy"])
    node = Node(options, kinds, lambda made: make_web(Dispatcher(made)), services)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


def at(name: str) -> str:
    return f'[[fact]]\nsubject = "node/{name}"\nname = "at"\nvalue = "{SPOTS[name]}"\n'


async def test_three_witnesses_bound_a_node_and_policy_asks_for_it(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Ranging._echo

    async def slowly(self: Ranging, peer: str, asked: Echo) -> Echoed:
        """Answer from some 600 km away, as far as light can tell."""
        await asyncio.sleep(0.004)
        return await answer(self, peer, asked)

    monkeypatch.setattr(Ranging, "_echo", slowly)
    extra = "".join(at(name) for name in SPOTS)
    async with contextlib.AsyncExitStack() as stack:
        nodes = {
            name: await stack.enter_async_context(
                light(top / name, name, extra if name == "rock" else "")
            )
            for name in SPOTS
        }
        rock = nodes["rock"]
        for one, other in itertools.combinations(nodes.values(), 2):
            await bind(one, other)
        contract = top / "contract.pdf"
        contract.write_bytes(b"%PDF colocation in Stockholm")
        for name in ("", "farm"):
            found = await perform(
                rock, "federation.residency.document",
                file=str(contract), country="SE", until="2035-01-01", name=name,
            )  # fmt: skip
            assert found.grade == "R1" and "facility SE (documented" in found.shown_by
        with pytest.raises(SkerryError) as raised:
            await deploy(rock, {"skerry.toml": APP})
        assert "graded R1: too low" in raised.value.why
        for name in ("", "farm"):
            measured = await perform(rock, "federation.residency.measure", name=name)
            assert len(measured.witnesses) == 3 and not measured.contradicted_by
            assert 600 <= measured.km <= RANGE_KM_MAX and measured.grade == "R2"
        await _proved(rock, measured.entry, top)
        await _policy_asks(rock)
        rock.home.facts.write_text(extra.replace(SPOTS["ness"], "-33.9,151.2"))
        await perform(rock, "policy.reload")
        wrong = await perform(rock, "federation.residency.measure", name="farm")
        assert wrong.contradicted_by == ("ness",) and wrong.exit_code == 1
        refused = await perform(
            rock, "policy.explain", action="resource:replicate", app="shop", at="farm"
        )
        assert refused.decision.rule == "conflict", "light contradicts it"


async def _proved(node: Node, entry: int, top: Path) -> None:
    """Each statement in the receipt verifies with nothing but the proof's file."""
    proof = await perform(node, "audit.prove", entry=entry)
    path = top / "range.proof"
    path.write_text(proof.text)
    found = verify(Verify(str(path), key=str(node.audit.log.verifier)))
    assert not found.findings and found.record is not None
    statements = found.record["of"]["statements"]
    assert len(statements) == 3
    for each in statements:
        stated = msgspec.convert(each["stated"], Stated)
        stated.check()
        assert stated.statement.km == each["km"]
        worse = msgspec.structs.replace(stated.statement, best_us=1)
        with pytest.raises(SkerryError) as raised:
            msgspec.structs.replace(stated, statement=worse).check()
        assert raised.value.problem is UNAUTHENTICATED


async def _policy_asks(node: Node) -> None:
    await deploy(node, {"skerry.toml": APP})
    entries = await perform(node, "audit.entries", what="decision", lines=50)
    record = await perform(node, "audit.show", entry=entries[-1].entry)
    assert record.of["residency"] == "R2", "the grade is on the receipt"
    explained = await perform(
        node, "policy.explain", action="resource:replicate", app="shop", at="farm"
    )
    assert explained.decision.allowed and explained.decision.residency == "R2"
    await deploy(node, {"skerry.toml": APP + NEAR.replace("KM", "1900"), "web.py": ""})
    with pytest.raises(SkerryError) as raised:
        await deploy(node, {"skerry.toml": APP + NEAR.replace("KM", "500")})
    assert raised.value.problem is DENIED and "near" in raised.value.why


def identity(name: str) -> Identity:
    return Identity(Ed25519PrivateKey.generate(), name, SystemClock())


def seen(name: str, spot: Spot, km: float, owner: str = "") -> Seen:
    who = identity(name)
    best = math.ceil(km / KM_PER_SECOND * 2e6)
    statement = Statement("farm-id", who.id, best, 12, 1)
    stated = Stated(statement, who.public_key, who.sign(statement.signed()))
    stated.check()
    return Seen(stated, name, owner or name, spot, Fact(f"node/{name}", "at", str(spot)))


STOCKHOLM, HELSINKI, BERLIN = Spot(59.33, 18.07), Spot(60.17, 24.94), Spot(52.52, 13.4)


def test_bounds_are_those_of_light() -> None:
    assert Statement("a", "b", 10_000, 1, 0).km == 1499, "10 ms there and back"
    assert 395 < STOCKHOLM.km_to(HELSINKI) < 400
    assert 800 < STOCKHOLM.km_to(BERLIN) < 830
    assert abs(Spot(0, 0).km_to(Spot(0, 180)) - math.pi * EARTH_KM) < 1e-6
    three = [
        seen("a", STOCKHOLM, 50), seen("b", HELSINKI, 500), seen("c", BERLIN, 900),
    ]  # fmt: skip
    found = bound(STOCKHOLM, three)
    assert found.contradicted_by == ()
    assert 895 <= found.km <= 900, "the second-smallest: one liar makes it no smaller"
    found = bound(STOCKHOLM, [*three[:2], seen("c", BERLIN, 300)])
    assert found.contradicted_by == ("c",), "light cannot have come from Stockholm"
    for too_few in (three[:2], [three[0], three[1], seen("c", BERLIN, 900, owner="a")]):
        with pytest.raises(SkerryError) as raised:
            bound(STOCKHOLM, too_few)
        assert raised.value.problem is CONFLICT


degrees = st.builds(Spot, st.floats(-89, 89), st.floats(-179, 179))


@settings(max_examples=80, deadline=None)
@given(degrees, degrees, st.lists(degrees, min_size=3, max_size=5), st.floats(1, 3), st.data())
def test_a_node_is_never_farther_than_was_said(
    truth: Spot, claim: Spot, witnesses: list[Spot], slowness: float, data: st.DataObject
) -> None:
    """With honest witnesses, and with one that says that it is at the node's door."""
    liar = data.draw(st.sampled_from([None, *range(len(witnesses))]))
    said = [
        seen(f"w{n}", spot, 0 if n == liar else spot.km_to(truth) * slowness + 1)
        for n, spot in enumerate(witnesses)
    ]
    found = bound(claim, said)
    assert truth.km_to(claim) <= found.km + 1
    if claim == truth and liar is None:
        assert found.contradicted_by == ()


@pytest.mark.parametrize("text", ["", "59", "91,0", "0,181", "nan,0", "a,b", "1,2,3"])
def test_what_is_no_place_is_none(text: str) -> None:
    assert read_spot(text) is None
    assert read_spot("59.3,18.1") == Spot(59.3, 18.1)


TPM = """#!/bin/sh
# Stands in for {name} of tpm2-tools: it signs with a digest over a secret file.
while [ $# -gt 0 ]; do case "$1" in
  -q) q="$2";; -m) m="$2";; -s) s="$2";; -o) o="$2";; -u) u="$2";; -f) f="$2";; esac; shift; done
case "{name}" in
  tpm2_readpublic) printf 'PEM of {secret}' > "$o";;
  tpm2_quote) printf '%s' "$q" > "$m"; printf 'values' > "$o"
    printf '%s' "$q-{secret}" | sha256sum > "$s";;
  tpm2_checkquote) key=$(sed 's/PEM of //' "$u")
    [ "$(cat "$m")" = "$q" ] || {{ echo "nonce differs" >&2; exit 1; }}
    printf '%s' "$q-$key" | sha256sum | cmp -s - "$s" || {{ echo "bad signature" >&2; exit 1; }};;
esac
"""


@pytest.fixture
def tpm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def install(secret: str) -> None:
        for name in ("tpm2_readpublic", "tpm2_quote", "tpm2_checkquote"):
            program = tmp_path / name
            program.write_text(TPM.format(name=name, secret=secret))
            program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return install


async def test_a_quote_is_bound_to_the_challenge_the_node_and_the_registered_key(
    tpm: Callable[[str], None],
) -> None:
    tpm("s1")
    nonce, key = b"n" * 32, b"k" * 32
    registered = hashlib.sha256(b"PEM of s1").hexdigest()
    found = await quoting.quote("0x81010002", nonce, key)
    await quoting.check(found, nonce, key, registered)
    for other_nonce, other_key, other in (
        (b"m" * 32, key, UNAUTHENTICATED), (nonce, b"j" * 32, UNAUTHENTICATED),
    ):  # fmt: skip
        with pytest.raises(SkerryError) as raised:
            await quoting.check(found, other_nonce, other_key, registered)
        assert raised.value.problem is other
    with pytest.raises(SkerryError) as raised:
        await quoting.check(found, nonce, key, "00" * 32)
    assert raised.value.problem is CONFLICT
    forged = msgspec.structs.replace(found, signature=b"0" * 64)
    with pytest.raises(SkerryError) as raised:
        await quoting.check(forged, nonce, key, registered)
    assert raised.value.problem is UNAUTHENTICATED


async def test_without_tools_or_a_key_there_is_no_quote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for handle in ("", "0x81010002"):
        with pytest.raises(SkerryError) as raised:
            await quoting.quote(handle, b"n", b"k")
        assert raised.value.problem is UNSUPPORTED


async def test_documents_and_quotes_count_after_a_restart(
    top: Path, tpm: Callable[[str], None]
) -> None:
    tpm("s2")
    registered = hashlib.sha256(b"PEM of s2").hexdigest()
    extra = (
        f'[[fact]]\nsubject = "node/rock"\nname = "tpm_key"\nvalue = "{registered}"\n'
        'evidence = "documented"\nsource = "delivery note"\nsha256 = "ab"\nexpires = "2035-01-01"\n'
    )
    contract = top / "contract.pdf"
    contract.write_bytes(b"x")
    async with light(top / "rock", "rock", extra) as node:
        for wrong in ({"country": "UK"}, {"until": "soon"}, {"until": "2020-01-01"}):
            given_ = {"file": str(contract), "country": "SE", "until": "2035-01-01"} | wrong
            with pytest.raises(SkerryError) as raised:
                await perform(node, "federation.residency.document", **given_)
            assert raised.value.problem is INVALID
        await perform(
            node, "federation.residency.document",
            file=str(contract), country="SE", until="2035-01-01",
        )  # fmt: skip
        found = await perform(node, "federation.residency.quote")
        assert found.grade == "R1", "a quote without bounds adds nothing"
        node.placement.learn(
            "test",
            [Fact("node/rock", "range", "90 km of 59,18", Evidence.MEASURED,
                  index=1, expires="2035-01-01")],
        )  # fmt: skip
        (shown,) = await perform(node, "federation.residency.show", name="rock")
        assert shown.grade == "R3"
    async with light(top / "rock", "rock", extra) as node:
        (shown,) = await perform(node, "federation.residency.show", name="rock")
        assert shown.grade == "R1" and "facility" in shown.shown_by
        assert {x.name for x in node.placement.known("node/rock")} >= {"quote", "facility", "at"}
