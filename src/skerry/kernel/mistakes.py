"""Mistakes in plain values, told in words instead of in the names of Python's types."""

from __future__ import annotations

import re

import msgspec

_TYPES = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
    "bytes": "Base64",
}
_EXPECTED = re.compile(r"Expected `([\w| ]+)`(?:, got `(\w+)`| (.+))?", re.DOTALL)
_OWN = re.compile(r"([a-z][a-z0-9_]*): (.+)", re.DOTALL)
"""What a type says of a value of its own: the key first."""
_FIELD = re.compile(r"Object (missing required|contains unknown) field `(.+)`")


def told(error: msgspec.ValidationError) -> tuple[tuple[str, ...], str, str]:
    """Return where a value is wrong, what was expected there, and what was found or is the matter.

    The place is the keys that lead to it; what does not say what it expected is "a valid value".
    """
    message, _, path = str(error).partition(" - at `")
    place = tuple(re.findall(r"[\w-]+", path.partition("$")[2]))
    expected = _EXPECTED.fullmatch(message)
    if expected:
        wanted, got, bound = expected.groups()
        kinds = [_words(each.strip()) for each in wanted.split("|")]
        text = f"{' or '.join(kinds)} {bound or ''}".rstrip()
        return place, text, f"It is {_words(got)}." if got else ""
    field = _FIELD.fullmatch(message)
    if field:
        known = "no such key" if field[1].startswith("contains") else "a value, and there is none"
        return (*place, field[2]), known, ""
    own = _OWN.fullmatch(message)
    if own:
        place, message = (*place, own[1]), own[2]
    return place, "a valid value", f"{message}."


def _words(name: str) -> str:
    return _TYPES.get(name, name)
