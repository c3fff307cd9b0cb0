"""Deployment files: what follows from good ones, and what is said of bad ones."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.market.files import BAD, GOOD, sdl

from skerry.kernel.errors import SkerryError
from skerry.market.core.terms import Rule, Terms, Verification, read_terms
from skerry.market.health import checks
from skerry.market.sdl import units
from skerry.market.sdl.build import LEASED_IP, RANDOM_PORT, SHARED_HTTP
from skerry.market.sdl.model import Attribute
from skerry.market.sdl.parse import parse
from skerry.market.sdl.tree import NODES_MAX, read


@pytest.mark.parametrize("name", GOOD)
def test_reads(name: str) -> None:
    found = parse(GOOD[name])
    assert found.groups
    assert len(found.manifest_hash) == 64


@pytest.mark.parametrize("name", BAD)
def test_refuses_and_says_where(name: str) -> None:
    text, said = BAD[name]
    with pytest.raises(SkerryError) as caught:
        parse(text, "shop.yaml")
    whole = f"{caught.value.what}\n{caught.value.why}"
    assert said in whole
    file, line, column, rest = caught.value.what.split(":", 3)
    assert file == "shop.yaml"
    assert 1 <= int(line) <= len(text.splitlines())
    assert int(column) >= 1
    assert rest


def test_points_at_the_place_itself() -> None:
    text = GOOD["two services of one profile"].replace("port: 5000", "port: 0")
    with pytest.raises(SkerryError, match=r"deploy.yaml:21:15: services.api.expose\[0\].port: 0"):
        parse(text)


def test_tells_all_mistakes_at_once() -> None:
    text = sdl(services="  web:\n    imge: nginx\n    env: {A: 1}", version="1.0")
    with pytest.raises(SkerryError) as caught:
        parse(text)
    assert len(caught.value.why.splitlines()) == 3


def test_a_password_is_never_repeated() -> None:
    text = sdl(
        services="  web:\n    image: a\n    credentials: {host: h, username: u, password: hush}"
    )
    with pytest.raises(SkerryError) as caught:
        parse(text)
    assert "hush" not in f"{caught.value.what}{caught.value.why}"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: [", "not YAML"),
        ("", "0 documents"),
        ("a: 1\n---\nb: 2", "2 documents"),
        ("a: 1\na: 2", "twice"),
        ("? [a]\n: 1", "must be text"),
        ("version: '2.0'\nx: " + "[" * 60 + "]" * 60, "nests too deep"),
    ],
)
def test_refuses_what_yaml_allows_and_nobody_needs(text: str, what: str) -> None:
    with pytest.raises(SkerryError) as caught:
        read(text)
    assert what in caught.value.what


def test_aliases_cannot_multiply() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(SkerryError, match="repeats too much"):
        read("\n".join(lines))
    assert NODES_MAX < 9**8


def test_merges_as_the_sdks_do() -> None:
    text = "base: &base {a: 1, b: 2}\nmade:\n  <<: *base\n  b: 3\n"
    assert read(text).plain()["made"] == {"b": 3, "a": 1}


def test_text_is_read_as_yaml_1_2() -> None:
    found = read('a: yes\nb: on\nc: "1"\nd: 0o17\ne: 1e3\nf: ~\ng: true').plain()
    assert found == {"a": "yes", "b": "on", "c": "1", "d": 15, "e": 1000.0, "f": None, "g": True}


def test_endpoints_are_of_three_kinds() -> None:
    groups = parse(GOOD["two services of one profile"]).groups
    kinds = [each.kind for each in groups[0].resources[0].resources.endpoints]
    assert kinds == [SHARED_HTTP, RANDOM_PORT]
    leased = parse(GOOD["a leased address"]).groups[0].resources[0].resources.endpoints
    assert [each.kind for each in leased] == [SHARED_HTTP, RANDOM_PORT, LEASED_IP, LEASED_IP]


@given(st.integers(1, 10**6), st.sampled_from(["", "k", "M", "Gi", "Ti", "Mi", "ki"]))
def test_sizes(number: int, unit: str) -> None:
    base = 1024 if unit.endswith("i") else 1000
    power = "kmgt".index(unit[0].lower()) + 1 if unit else 0
    assert units.size_bytes(f"{number}{unit}") == number * base**power


def test_without_the_extra_its_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(SkerryError, match="PyYAML") as caught:
        parse(GOOD["smallest"])
    assert caught.value.hint == "pip install 'skerry[market]'"
    assert not checks()[0].ok


def test_this_machine_is_well() -> None:
    assert all(check.ok for check in checks())


def test_our_terms_stand_among_the_attributes() -> None:
    found = (
        Attribute("region", "north"),
        Attribute("skerry/clearing", "first-score"),
        Attribute("skerry/countries", "fi, SE"),
        Attribute("skerry/verification", "replicate(3)"),
        Attribute("skerry/window-ms", "50"),
    )
    terms, plain = read_terms(found, Terms())
    assert plain == (Attribute("region", "north"),)
    assert terms.clearing is Rule.FIRST_SCORE
    assert terms.countries == ("FI", "SE")
    assert terms.verification == Verification("replicate", replicas=3)
    assert terms.window_ms == 50


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("clearing", "lottery"),
        ("clering", "manual"),
        ("verification", "trust-me"),
        ("verification", "audit(2)"),
        ("verification", "replicate(1)"),
        ("window-ms", "-1"),
        ("bond", "much"),
    ],
)
def test_wrong_terms_are_explained(key: str, value: str) -> None:
    with pytest.raises(SkerryError):
        read_terms((Attribute(f"skerry/{key}", value),), Terms())
