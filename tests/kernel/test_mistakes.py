"""What is wrong with a value is told without the names of Python's types."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import msgspec
import pytest

from skerry.kernel.mistakes import told


class Colour(Enum):
    RED = "red"


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    size: Annotated[int, msgspec.Meta(ge=1)] = 1
    name: Annotated[str, msgspec.Meta(min_length=2)] = "ab"
    either: str | bool = ""
    colour: Colour = Colour.RED

    def __post_init__(self) -> None:
        if self.name == "no":
            raise ValueError("name: no is no name")


class Outer(msgspec.Struct):
    inner: Inner
    ratio: float = 1.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"inner": 3}, (("inner",), "a table", "It is an integer.")),
        ({"inner": {}, "ratio": "x"}, (("ratio",), "a number", "It is a string.")),
        ({"inner": {"size": 0}}, (("inner", "size"), "an integer >= 1", "")),
        ({"inner": {"size": []}}, (("inner", "size"), "an integer", "It is a list.")),
        ({"inner": {"name": "a"}}, (("inner", "name"), "a string of length >= 2", "")),
        (
            {"inner": {"either": 1.5}},
            (("inner", "either"), "true or false or a string", "It is a number."),
        ),
        ({"inner": {"sise": 1}}, (("inner", "sise"), "no such key", "")),
        ({}, (("inner",), "a value, and there is none", "")),
        ({"inner": {"name": "no"}}, (("inner", "name"), "a valid value", "no is no name.")),
        (
            {"inner": {"colour": "blue"}},
            (("inner", "colour"), "a valid value", "Invalid enum value 'blue'."),
        ),
    ],
)
def test_mistakes_are_told(value: Any, expected: Any) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, Outer)
    assert told(caught.value) == expected
