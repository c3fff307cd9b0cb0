"""Names, errors, money, keys and policy."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.kernel import errors
from skerry.kernel.errors import DENIED, INTERNAL, INVALID, SkerryError, from_dict
from skerry.kernel.keys import Keys, derive
from skerry.kernel.money import Rate, show
from skerry.kernel.names import (
    MAIN,
    check_name,
    did_you_mean,
    host_label,
    is_name,
    is_secret_name,
    parse_host_label,
)
from skerry.kernel.policy import HereOnly, Request, enforce

NAMES = st.from_regex(r"[a-z](-?[a-z0-9]){0,12}", fullmatch=True)


@given(NAMES, NAMES, st.none() | NAMES)
def test_host_labels_are_read_as_they_are_written(
    app: str, branch: str, resource: str | None
) -> None:
    assert parse_host_label(host_label(app, branch, resource)) == (app, branch, resource)
    assert parse_host_label(host_label(app, MAIN)) == (app, MAIN, None)


@pytest.mark.parametrize("text", ["a", "a1", "a-b-1", "a" * 40])
def test_names(text: str) -> None:
    assert is_name(text)
    assert check_name(text, "a branch") == text


@pytest.mark.parametrize(
    "text",
    ["", "1a", "-a", "a-", "a--b", "A", "a_b", "a.b", "a/b", "..", "a\n", "é", "a" * 41, "a\x00"],
)
def test_what_is_no_name(text: str) -> None:
    assert not is_name(text)
    with pytest.raises(SkerryError) as refused:
        check_name(text, "a branch")
    assert refused.value.problem is INVALID
    assert parse_host_label(f"{text}--{text}--{text}--{text}") is None


def test_names_of_secrets() -> None:
    assert is_secret_name("API_KEY2")
    assert not any(map(is_secret_name, ["", "a", "2A", "_A", "A-B", "A\n", "A" * 65]))


def test_guesses() -> None:
    assert did_you_mean("mian", ["main", "other"]) == "Did you mean main?"
    assert did_you_mean("zzz", ["main", "other"]) == "Known are: main, other."
    assert did_you_mean("zzz", []) == "There are none yet."
    many = did_you_mean("zzz", [f"s{n:03}" for n in range(1000)])
    assert many.startswith("Known are: s000, s001, ")
    assert many.endswith(", s049 and 950 more.")


def test_errors_travel_whole() -> None:
    error = DENIED("what", why="why", hint="hint")
    for copy in (from_dict(error.as_dict()), pickle.loads(pickle.dumps(error))):
        assert (copy.problem, copy.what, copy.why, copy.hint) == (DENIED, "what", "why", "hint")
    assert from_dict({"code": "UNHEARD_OF", "what": "x"}).problem is INTERNAL
    assert error.as_dict()["docs"] == "/docs/reference/errors#denied"
    assert str(error) == "what"


def test_every_problem_has_its_own_code_and_a_sensible_status() -> None:
    for code, problem in errors.PROBLEMS.items():
        assert problem.code == code
        assert 400 <= problem.http < 600
        assert problem.exit in (1, 2, 4)
    with pytest.raises(AssertionError):
        errors.Problem("DENIED", 403, "again")


@given(st.integers(0, 10**15), st.integers(0, 10**9), st.integers(1, 10**9))
def test_a_cost_is_rounded_down_and_adds_up_to_no_more_than_the_whole(
    amount: int, micro: int, per: int
) -> None:
    rate = Rate(micro, per)
    assert rate.cost(amount) * per <= amount * micro < (rate.cost(amount) + 1) * per
    part = amount // 3
    assert rate.cost(part) + rate.cost(amount - part) <= rate.cost(amount)


@pytest.mark.parametrize(
    ("micro", "text"),
    [
        (0, "0.00 EUR"),
        (1, "0.000001 EUR"),
        (1_230_000, "1.23 EUR"),
        (-1_230_000, "-1.23 EUR"),
        (-1, "-0.000001 EUR"),
        (10**15 + 5, "1000000000.000005 EUR"),
    ],
)
def test_money_is_shown_exactly(micro: int, text: str) -> None:
    assert show(micro, "EUR") == text


def test_policy_decides_before_anything_moves() -> None:
    policy = HereOnly("north")
    here = Request("operator", "branch:create", "north")
    assert enforce(policy, here).rule == "here-only"
    with pytest.raises(SkerryError) as refused:
        enforce(policy, Request("operator", "branch:create", "south"))
    assert refused.value.problem is DENIED
    assert "south is not this node (north)" in refused.value.why


def test_secrets_are_apart_by_key_and_purpose_and_never_shown() -> None:
    root = bytes(32)
    one = Keys(derive(root, "resource", "1"), derive(root, "lineage", "0"))
    other = Keys(derive(root, "resource", "2"), derive(root, "lineage", "0"))
    secrets = {one.secret("a"), one.secret("b"), other.secret("a"), one.shared("a")}
    assert len(secrets) == 4
    assert one.shared("a") == other.shared("a")
    assert one.secret("a") == one.secret("a")
    assert all(len(each) == 32 and each.isalnum() for each in secrets)
    assert derive(root, "a", "b") != derive(root, "ab")
    assert repr(one) == "Keys(…)"
