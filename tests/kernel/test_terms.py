"""The [policy] table: each mistake is told with its line, its key and what was meant."""

from __future__ import annotations

import pytest

from skerry.kernel.app import parse
from skerry.kernel.errors import CONFIG_INVALID, SkerryError
from skerry.kernel.policy import Evidence
from skerry.kernel.terms import Outside, PolicySpec, Residency

APP = '[app]\nname = "paper"\n\n[policy]\n'


def policy(text: str) -> PolicySpec:
    return parse(APP + text, {}).policy


def test_every_term() -> None:
    found = policy(
        'jurisdiction = ["EU", "CH", "EU"]\nexclude_reach = ["US"]\nowners = ["Kust AB"]\n'
        'evidence_min = "documented"\nresidency_min = "R1"\noutside = "encrypted-only"\n'
        "cedar = 'permit(principal, action, resource);'\n"
    )
    assert found == PolicySpec(
        jurisdiction=("EU", "CH"),
        exclude_reach=("US",),
        owners=("Kust AB",),
        evidence_min=Evidence.DOCUMENTED,
        residency_min=Residency.R1,
        outside=Outside.ENCRYPTED_ONLY,
        cedar="permit(principal, action, resource);",
    )
    assert found.stated and found.has_terms


def test_no_table_asks_for_nothing() -> None:
    assert parse('[app]\nname = "paper"\n', {}).policy == PolicySpec() == policy("")
    assert not policy("").stated


def test_cedar_alone_is_no_term() -> None:
    found = policy('cedar_file = "rules.cedar"\n')
    assert found.stated and not found.has_terms


@pytest.mark.parametrize(
    ("line", "key", "expected", "why"),
    [
        ('jurisdicton = ["EU"]', "policy.jurisdicton", "a term of a policy", "jurisdiction?"),
        ('jurisdiction = ["UK"]', "policy.jurisdiction", "country codes", "Did you mean GB?"),
        ('jurisdiction = ["Europe"]', "policy.jurisdiction", "country codes", "Did you mean EU?"),
        ('jurisdiction = ["eu"]', "policy.jurisdiction", "country codes", "Did you mean EU?"),
        ('exclude_reach = ["EU"]', "policy.exclude_reach", "country codes (US)", "EU"),
        ('jurisdiction = "EU"', "policy.jurisdiction", "a list of strings", ""),
        ("jurisdiction = []", "policy.jurisdiction", "at least one entry", "leave the key out"),
        ("owners = [1]", "policy.owners", "a list of strings", ""),
        ('evidence_min = "documentd"', "policy.evidence_min", "one of declared", "documented?"),
        ('residency_min = "R9"', "policy.residency_min", "one of R0", ""),
        ('outside = "encrypted"', "policy.outside", "one of refused", "encrypted-only?"),
        ("cedar = 3", "policy.cedar", "a string", ""),
        ('cedar = " "', "policy.cedar", "a string that says something", ""),
        ('cedar = "a"\ncedar_file = "b"', "policy.cedar_file", "Cedar in one place", "already"),
    ],
)
def test_mistakes(line: str, key: str, expected: str, why: str) -> None:
    with pytest.raises(SkerryError) as raised:
        policy(line)
    error = raised.value
    assert error.problem is CONFIG_INVALID
    number = 5 + line.count("\n")
    assert error.what.startswith(f"skerry.toml line {number}: {key}: expected {expected}")
    assert why in error.why


def test_a_list_and_cedar_have_bounds() -> None:
    for text in (
        f"owners = {[f'o{number}' for number in range(101)]}",
        f"cedar = '{'x' * 70_000}'",
    ):
        with pytest.raises(SkerryError) as raised:
            policy(text)
        assert "at most" in raised.value.what
