"""What a file must look like, as small checks that are put together.

A check gets a node and a place to report to. It returns nothing: after all checks have passed, the
plain value of the tree is known to be well-formed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from skerry.kernel.names import nearest
from skerry.market.sdl.tree import Node

MISTAKES_MAX = 20


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong at a place of a file, and what was expected there."""

    line: int
    column: int
    field: str
    what: str
    expected: str = ""

    def show(self, name: str) -> str:
        """Return one line for people, in the form that editors jump to."""
        text = f"{name}:{self.line}:{self.column}: {self.field}: {self.what}."
        end = "" if self.expected.endswith("?") else "."
        return f"{text} Expected {self.expected}{end}" if self.expected else text


@dataclass(slots=True)
class Mistakes:
    """All that was found, in the order of the file, up to a bound."""

    found: list[Mistake] = field(default_factory=list)

    def add(self, node: Node, path: str, what: str, expected: str = "") -> None:
        """Report a mistake."""
        if len(self.found) < MISTAKES_MAX:
            self.found.append(Mistake(node.line, node.column, path or "file", what, expected))


Check = Callable[[Node, str, Mistakes], None]


def text(
    *, least: int = 0, pattern: str = "", expected: str = "text", options: tuple[str, ...] = ()
) -> Check:
    """Check for text: its length, a pattern, or a set of options."""
    compiled = re.compile(pattern) if pattern else None

    def check(node: Node, path: str, mistakes: Mistakes) -> None:
        value = node.value
        if options:
            one_of(*options)(node, path, mistakes)
        elif not isinstance(value, str):
            mistakes.add(node, path, f"{node.what} is not text", _quoted(value, expected))
        elif len(value) < least or (compiled and not compiled.fullmatch(value)):
            mistakes.add(node, path, f"{value!r} is not allowed", expected)

    return check


def secret(least: int) -> Check:
    """Check the length of a secret, and never repeat what it is."""

    def check(node: Node, path: str, mistakes: Mistakes) -> None:
        if not isinstance(node.value, str):
            mistakes.add(node, path, "this is not text", "text, in quotes")
        elif len(node.value) < least:
            mistakes.add(node, path, "this is too short", f"at least {least} characters")

    return check


def _quoted(value: object, expected: str) -> str:
    """Add how to write a number or a truth value where text is meant."""
    if isinstance(value, bool | int | float):
        return f'{expected}, in quotes: "{str(value).lower()}"'
    return expected


def one_of(*options: str) -> Check:
    """Check for one of some words; the nearest is named."""

    def check(node: Node, path: str, mistakes: Mistakes) -> None:
        if node.value in options and isinstance(node.value, str):
            return
        guess = nearest(str(node.value), options)
        expected = " or ".join(options) if len(options) < 3 else f"one of {', '.join(options)}"
        if isinstance(node.value, int | float) and str(node.value) in options:
            expected = f'text in quotes: "{node.value}"'
        elif guess:
            expected += f"; did you mean {guess}?"
        mistakes.add(node, path, f"{node.what} is not known here", expected)

    return check


def whole(least: int, most: int | None = None, *, what: str = "a whole number") -> Check:
    """Check for a whole number within bounds."""
    bounds = f"{what} from {least} to {most}" if most is not None else f"{what}, at least {least}"

    def check(node: Node, path: str, mistakes: Mistakes) -> None:
        value = node.value
        if not isinstance(value, int) or isinstance(value, bool):
            mistakes.add(node, path, f"{node.what} is not a whole number", bounds)
        elif value < least or (most is not None and value > most):
            mistakes.add(node, path, f"{value} is out of bounds", bounds)

    return check


def boolean(node: Node, path: str, mistakes: Mistakes) -> None:
    """Check for true or false."""
    if not isinstance(node.value, bool):
        mistakes.add(node, path, f"{node.what} is neither true nor false", "true or false")


def number_or_text(pattern: str, expected: str, *, above_zero: bool) -> Check:
    """Check for a number, or for text of a pattern."""
    compiled = re.compile(pattern)

    def check(node: Node, path: str, mistakes: Mistakes) -> None:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            mistakes.add(node, path, f"{node.what} is not a number", expected)
        elif isinstance(value, str):
            if not compiled.fullmatch(value) or (above_zero and not value.strip("0.m")):
                mistakes.add(node, path, f"{value!r} is not allowed", expected)
        elif value < 0 or (above_zero and value == 0):
            mistakes.add(node, path, f"{value} is not allowed", expected)

    return check


def attributes(node: Node, path: str, mistakes: Mistakes) -> None:
    """Check for a mapping of names to single values."""
    if not isinstance(node.value, dict):
        mistakes.add(node, path, f"{node.what} is not a mapping", "names with one value each")
        return
    for name, value in node.value.items():
        if isinstance(value.value, dict | list) or value.value is None:
            mistakes.add(value, f"{path}.{name}", f"{value.what} is not one value", "text")


def nullable(check: Check) -> Check:
    """Allow an empty value too."""

    def either(node: Node, path: str, mistakes: Mistakes) -> None:
        if node.value is not None:
            check(node, path, mistakes)

    return either


def each(check: Check, *, what: str = "a list") -> Check:
    """Check every element of a list."""

    def every(node: Node, path: str, mistakes: Mistakes) -> None:
        if not isinstance(node.value, list):
            mistakes.add(node, path, f"{node.what} is not a list", what)
            return
        for index, item in enumerate(node.value):
            check(item, f"{path}[{index}]", mistakes)

    return every


def one_or_many(check: Check) -> Check:
    """Check one value, or every element of a list."""

    def either(node: Node, path: str, mistakes: Mistakes) -> None:
        (each(check) if isinstance(node.value, list) else check)(node, path, mistakes)

    return either


def table(
    check: Check,
    *,
    key: str = "",
    expected: str = "",
    least: int = 0,
    known: tuple[str, ...] = (),
) -> Check:
    """Check a mapping of free names to values of one form."""
    compiled = re.compile(key) if key else None

    def every(node: Node, path: str, mistakes: Mistakes) -> None:
        if not isinstance(node.value, dict):
            mistakes.add(node, path, f"{node.what} is not a mapping", expected or "names: …")
            return
        if len(node.value) < least:
            mistakes.add(node, path, "this is empty", expected or "at least one name")
        for name, value in node.value.items():
            here = f"{path}.{name}" if path else name
            if known and name not in known:
                mistakes.add(value.at_key, here, "this is not known here", _among(name, known))
            elif compiled and not compiled.fullmatch(name):
                mistakes.add(value.at_key, here, f"{name!r} cannot be a name here", expected)
            else:
                check(value, here, mistakes)

    return every


def record(
    fields: Mapping[str, Check], *, required: tuple[str, ...] = (), then: Check | None = None
) -> Check:
    """Check a mapping of known names; `then` checks it as a whole if its parts are well."""

    def check(node: Node, path: str, mistakes: Mistakes) -> None:
        if not isinstance(node.value, dict):
            mistakes.add(node, path, f"{node.what} is not a mapping", ", ".join(fields))
            return
        before = len(mistakes.found)
        for name, value in node.value.items():
            here = f"{path}.{name}" if path else name
            if name not in fields:
                known = _among(name, tuple(fields))
                mistakes.add(value.at_key, here, "this field is not known", known)
            else:
                fields[name](value, here, mistakes)
        for name in required:
            if name not in node.value:
                here = f"{path}.{name}" if path else name
                mistakes.add(node, here, "this field is missing", f"{name}: …")
        if then is not None and len(mistakes.found) == before:
            then(node, path, mistakes)

    return check


def _among(name: str, known: tuple[str, ...]) -> str:
    guess = nearest(name, known)
    return f"{guess} (the nearest of {', '.join(known)})" if guess else f"one of {', '.join(known)}"
