"""Rules of an app's own: what is decided equals what a slow reading of them says, errors included.

A rule that Cedar cannot evaluate is skipped by it. Here any such rule must deny, wherever in a rule
the error stands, unless the rule comes to its result without it (`false && …`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.policy.test_random import Fixed

from skerry.kernel.catalogue import Catalogue
from skerry.kernel.policy import Fact, Request
from skerry.kernel.terms import PolicySpec
from skerry.node.policy.engine import Engine

ACTIONS = ("backup:send", "models:route", "quantum:submit", "market:bid", "resource:replicate")
COUNTRIES = ("SE", "CH", "US")
ERRORS = (
    "resource.nothing == 1",
    "resource.country > 1",
    "9223372036854775807 + 1 > 0",
    "context.nothing",
    "resource.owner.contains(1)",
)


class Asked(NamedTuple):
    """A request, as the slow reading sees it."""

    action: str
    country: str
    encrypted: bool
    kind: str


class FailedError(Exception):
    """A condition cannot be evaluated."""


Tree = tuple[Any, ...]

leaves: st.SearchStrategy[Tree] = st.one_of(
    st.tuples(st.just("country"), st.sampled_from(COUNTRIES)),
    st.tuples(st.just("action"), st.sampled_from(ACTIONS)),
    st.tuples(st.just("kind"), st.sampled_from(("kv", "quantum"))),
    st.just(("encrypted",)),
    st.tuples(st.just("error"), st.sampled_from(ERRORS)),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(("&&", "||")), inner, inner),
        st.tuples(st.just("!"), inner),
        st.tuples(st.just("if"), inner, inner, inner),
    ),
    max_leaves=5,
)
rules = st.tuples(st.sampled_from(("permit", "forbid")), st.sampled_from(("when", "unless")), trees)


def text(tree: Tree) -> str:
    match tree:
        case ("country", value):
            return f'resource.country == "{value}"'
        case ("action", value):
            return f'action == Action::"{value}"'
        case ("kind", value):
            return f'context.kind == "{value}"'
        case ("encrypted",):
            return "context.encrypted"
        case ("error", value):
            return f"{value}"
        case ("!", inner):
            return f"!({text(inner)})"
        case ("if", condition, yes, no):
            return f"if {text(condition)} then {text(yes)} else {text(no)}"
        case (word, left, right):
            return f"({text(left)}) {word} ({text(right)})"
    raise AssertionError(tree)


def holds(tree: Tree, asked: Asked) -> bool:
    """Evaluate a condition from left to right, as far as its result needs it."""
    match tree:
        case ("country" | "action" | "kind" as name, value):
            return bool(getattr(asked, name) == value)
        case ("encrypted",):
            return asked.encrypted
        case ("error", _):
            raise FailedError
        case ("!", inner):
            return not holds(inner, asked)
        case ("if", condition, yes, no):
            return holds(yes if holds(condition, asked) else no, asked)
        case ("&&", left, right):
            return holds(left, asked) and holds(right, asked)
        case ("||", left, right):
            return holds(left, asked) or holds(right, asked)
    raise AssertionError(tree)


def expected(found: list[tuple[str, str, Tree]], asked: Asked) -> bool:
    effects = []
    for effect, word, tree in found:
        try:
            if holds(tree, asked) == (word == "when"):
                effects.append(effect)
        except FailedError:
            return False
    return "permit" in effects and "forbid" not in effects


@settings(max_examples=250, deadline=None, database=None)
@given(
    st.lists(rules, min_size=1, max_size=4),
    st.builds(
        Asked,
        st.sampled_from(ACTIONS),
        st.sampled_from(COUNTRIES),
        st.booleans(),
        st.sampled_from(("kv", "quantum")),
    ),
)
@example(
    [("permit", "when", ("country", "SE")), ("forbid", "when", ("error", ERRORS[0]))],
    Asked("backup:send", "SE", False, "kv"),
)
def test_what_cannot_be_evaluated_denies(found: list[tuple[str, str, Tree]], asked: Asked) -> None:
    cedar = "\n".join(
        f"{effect}(principal, action, resource) {word} {{ {text(tree)} }};"
        for effect, word, tree in found
    )
    facts = [Fact("node/there", "country", asked.country), Fact("node/there", "owner", "Kust AB")]
    engine = Engine("here", Catalogue(), Fixed(), facts)
    request = Request(
        "operator", asked.action, "there", "app", kind=asked.kind, encrypted=asked.encrypted
    )
    decision = engine.decide_under((PolicySpec(cedar=cedar),), request)
    assert decision.allowed == expected(found, asked), (cedar, decision)
    if decision.rule == "error":
        assert decision.reason, "it says what could not be evaluated"
