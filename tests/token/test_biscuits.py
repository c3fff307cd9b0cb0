"""Tokens by themselves: narrowing offline, what blocks mean, and what nobody can add."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import biscuit_auth
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.errors import DENIED, INVALID, UNAUTHENTICATED, SkerryError
from skerry.node.token import biscuit
from skerry.node.token.limits import Limits, make
from skerry.node.token.offline import inspect, narrow
from skerry.node.token.rights import Deed, Rights
from skerry.node.token.service import Inspect, Narrow

SEED = bytes(range(32))
NOW = 1_795_000_000 * NANOSECONDS


def test_narrowing_and_looking_need_no_node(tmp_path: Path) -> None:
    token = biscuit.mint(SEED, "ci", make(NOW, app=("shop",)))
    child = narrow(Narrow(token=token, verb=("read",), until="8h"))
    key = base64.b64encode(biscuit.public_key(SEED)).decode()
    found = inspect(Inspect(child.token, key))
    assert found.trusted and found.name == "ci" and len(found.blocks) == 2
    assert "narrowed" in found.draw(80) and child.id in found.ids
    with pytest.raises(SkerryError) as raised:
        inspect(Inspect(child.token, base64.b64encode(bytes(32)).decode()))
    assert raised.value.problem is UNAUTHENTICATED
    with pytest.raises(SkerryError) as raised:
        narrow(Narrow(token=token))
    assert raised.value.problem is INVALID


@pytest.mark.parametrize(
    "limits",
    [
        {"app": ('x"), true',)},
        {"branch": ("Main",)},
        {"verb": ("branch create",)},
        {"country": ("UK",)},
        {"price": "-1"},
        {"price": "NaN"},
        {"until": "soon"},
        {"resource": tuple(f"r{n}" for n in range(60))},
    ],
)
def test_limits_that_are_none_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(SkerryError) as raised:
        make(NOW, **limits)
    assert raised.value.problem is INVALID


WORDS = ("a", "b", "c")
some = st.lists(st.sampled_from(WORDS), max_size=2, unique=True).map(tuple)
many_limits = st.builds(
    Limits,
    app=some,
    branch=some,
    resource=some,
    verb=some,
    country=some,
    price=st.sampled_from([None, 0, 5]),
    until=st.sampled_from([None, 100, 200]),
)
deeds = st.builds(
    Deed,
    verbs=st.lists(st.sampled_from(WORDS), min_size=1, max_size=2).map(tuple),
    seconds=st.sampled_from([50, 150, 250]),
    app=st.sampled_from(("", *WORDS)),
    branches=some,
    resource=st.sampled_from(("", *WORDS, 'odd"x')),
    country=st.sampled_from(("", *WORDS)),
    price=st.sampled_from([None, 0, 5, 6]),
)


def plainly(limits: Limits, deed: Deed) -> bool:
    """Say what a block allows, without Datalog."""
    return (
        (not limits.app or deed.app in limits.app)
        and (not limits.resource or deed.resource in limits.resource)
        and (not limits.country or deed.country in limits.country)
        and (not limits.verb or bool(set(deed.verbs) & set(limits.verb)))
        and (
            not limits.branch or (bool(deed.branches) and set(deed.branches) <= set(limits.branch))
        )
        and (limits.price is None or (deed.price is not None and deed.price <= limits.price))
        and (limits.until is None or deed.seconds < limits.until)
    )


def branches_hold(limits: Limits, deed: Deed) -> bool:
    return bool(deed.branches) and set(deed.branches) <= set(limits.branch)


@settings(max_examples=120, deadline=None)
@given(st.lists(many_limits, min_size=1, max_size=3), deeds)
def test_blocks_mean_what_they_say_and_only_narrow(blocks: list[Limits], deed: Deed) -> None:
    text = biscuit.mint(SEED, "ci", blocks[0])
    for each in blocks[1:]:
        text = biscuit.narrow(text, each)
    token = biscuit.read(text, biscuit.public_key(SEED))
    allowed = not biscuit.allows(token, deed.facts())
    assert allowed == all(plainly(each, deed) for each in blocks)
    if not allowed:
        with pytest.raises(SkerryError) as raised:
            Rights(token, deed).check(deed)
        assert raised.value.problem is DENIED


def test_facts_that_a_holder_adds_count_for_nothing() -> None:
    token = biscuit.read(biscuit.mint(SEED, "ci", Limits(app=("a",))), None)
    block = biscuit_auth.BlockBuilder('app("a"); right("all");')
    forged = token._replace(biscuit=token.biscuit.append(block))
    assert biscuit.allows(forged, Deed(("x",), 1, app="b").facts())


def test_a_busy_machine_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision that runs out of time is a refusal, so it has far more than it needs."""
    token = biscuit.read(biscuit.mint(SEED, "ci", Limits(app=("a",))), None)
    deed = Deed(("x",), 1, app="a")
    assert biscuit.allows(token, deed.facts()) == ""
    monkeypatch.setattr(biscuit, "DECISION_SECONDS", 0.0)
    assert "limits" in biscuit.allows(token, deed.facts())
