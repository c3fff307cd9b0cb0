"""`env`: names, spellings, errors, and what it never shows."""

from __future__ import annotations

import pytest

import skerry
from skerry.kernel.environment import CurrentEnvironment, Environment
from skerry.kernel.errors import SkerryError


def test_values_by_both_spellings() -> None:
    environment = Environment("functions.web", {"my-db": 1, "TOKEN": "t", "class": 2})
    assert environment.my_db == environment["my-db"] == 1
    assert environment.TOKEN == "t"
    assert environment.class_ == 2
    assert list(environment) == ["my-db", "TOKEN", "class"]
    assert "my-db" in environment
    assert "my_db" not in environment
    assert dir(environment) == ["TOKEN", "class_", "my_db"]


def test_an_unknown_name_says_where_to_add_it() -> None:
    environment = Environment("functions.web", {"media": 1})
    with pytest.raises(AttributeError, match=r"no 'medai'. Did you mean media\? Add it to the bi"):
        _ = environment.medai
    with pytest.raises(KeyError, match=r"\[functions.web\] in skerry.toml"):
        environment["medai"]
    with pytest.raises(KeyError, match="a secret needs a value too: skerry secret set TOKEN"):
        environment["TOKEN"]
    assert not hasattr(environment, "db")


def test_two_names_with_one_spelling_are_refused() -> None:
    with pytest.raises(SkerryError, match=r"two things that are both env\.a_b"):
        Environment("functions.web", {"a-b": 1, "a_b": 2})


def test_values_are_not_shown() -> None:
    environment = Environment("functions.web", {"TOKEN": "hunter2"})
    current = CurrentEnvironment()
    current.install(environment)
    for text in (repr(environment), repr(current), str(current)):
        assert "TOKEN" in text
        assert "hunter2" not in text


def test_the_current_one() -> None:
    current = CurrentEnvironment()
    with pytest.raises(RuntimeError, match="only in code that a node runs"):
        _ = current.TOKEN
    one, other = Environment("one", {"A": 1}), Environment("other", {"A": 2})
    current.install(one)
    current.install(other)
    current.remove(one)
    assert current.A == current["A"] == 2
    assert "A" in current
    assert list(current) == dir(current) == ["A"]
    current.remove(other)
    assert repr(current) == "<env of nothing>"


def test_the_package_exports_it_lazily() -> None:
    from skerry import env
    from skerry.kernel.environment import env as same

    assert env is same
    with pytest.raises(AttributeError, match="no attribute 'environ'"):
        _ = skerry.environ
