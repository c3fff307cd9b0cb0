"""Words of kinds may leave the resource unsaid where there is only one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.surfaces.conftest import NOTES

from skerry.kernel.commands import commands
from skerry.kernel.errors import SkerryError
from skerry.surfaces.cli.call import Call
from skerry.surfaces.cli.derive import derive
from skerry.surfaces.cli.grammar import Entry
from skerry.surfaces.cli.words import only_resource


@pytest.mark.parametrize(
    ("said", "resource", "key", "value"),
    [
        (["wall", "k", "v"], "wall", "k", "v"),
        (["k", "v"], "", "k", "v"),
        (["--branch", "pr-1", "k", "--times", "2", "v"], "", "k", "v"),
        (["wall", "--times", "2", "k", "v", "--app", "x"], "wall", "k", "v"),
    ],
)
def test_a_word_takes_one_argument_fewer(
    said: list[str], resource: str, key: str, value: str
) -> None:
    word = derive("put", commands([NOTES])["notes.put"], Entry("Put a note"))
    with word.make_context("put", said, obj=Call()) as context:
        found = context.params
    assert (found["of_resource"], found["value_key"], found["value_value"]) == (
        resource,
        key,
        value,
    )


@pytest.mark.parametrize("said", [["k"], ["a", "b", "c", "d"], ["k", "v", "--unknown"]])
def test_other_numbers_of_arguments_are_wrong(said: list[str]) -> None:
    word = derive("put", commands([NOTES])["notes.put"], Entry("Put a note"))
    with pytest.raises(Exception, match=r"Missing|unexpected|No such option"):
        word.make_context("put", said, obj=Call())


def calling(*resources: tuple[str, str]) -> Call:
    found = [{"name": name, "kind": kind} for name, kind in resources]
    client = SimpleNamespace(call=lambda command, params: found)
    return cast(Call, SimpleNamespace(client=client))


def test_the_only_resource_of_a_kind_is_meant() -> None:
    call = calling(("wall", "notes"), ("web", "pages"))
    assert only_resource(call, "notes", "news", None) == "wall"


@pytest.mark.parametrize("resources", [(), (("a", "notes"), ("b", "notes"))])
def test_none_or_several_have_to_be_named(resources: Any) -> None:
    with pytest.raises(SkerryError, match="not clear which notes"):
        only_resource(calling(*resources), "notes", "news", None)
