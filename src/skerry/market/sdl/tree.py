"""YAML as a tree whose every value knows its line and column.

Scalars are read by the core schema of YAML 1.2, as the official SDKs read them: `yes` and `on` are
text, `true` is not. What YAML allows and a deployment never needs is refused: duplicate keys, keys
that are not text, more than one document, deep nesting, and aliases that multiply.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from skerry.kernel.errors import EXTRA_MISSING, INVALID, TOO_LARGE, SkerryError

TEXT_BYTES_MAX = 256 * 1024
NODES_MAX = 20_000
DEPTH_MAX = 40

_WHOLE = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})

Value = "str | int | float | bool | None | dict[str, Node] | list[Node]"


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a file and where it and its key stand, counted from 1."""

    value: Any
    line: int
    column: int
    key: tuple[int, int] = (1, 1)

    @property
    def at_key(self) -> Node:
        """The same, standing where its key does."""
        line, column = self.key
        return Node(self.value, line, column, self.key)

    @property
    def what(self) -> str:
        """The value's type, for people."""
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return "a list"
        if self.value is None:
            return "nothing"
        return f"{self.value!r}" if isinstance(self.value, str) else str(self.value)

    def plain(self) -> Any:
        """Return the value without positions."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def at(self, *path: str | int) -> Node:
        """Return the deepest node on a path that exists; the rest of the path may be missing."""
        here = self
        for step in path:
            found: Node | None = None
            if isinstance(here.value, dict):
                found = here.value.get(str(step))
            elif isinstance(here.value, list) and isinstance(step, int):
                found = here.value[step] if step < len(here.value) else None
            if found is None:
                return here
            here = found
        return here


def read(text: str, name: str = "deploy.yaml") -> Node:
    """Return the tree of a file; raise INVALID with line and column if it is no such file."""
    if len(text.encode()) > TEXT_BYTES_MAX:
        raise TOO_LARGE(f"{name} is larger than {TEXT_BYTES_MAX} bytes.")
    yaml = load_yaml()
    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        raise INVALID(
            f"{name}:{where}: this is not YAML.", why=_sentence(error.problem or error.context)
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise INVALID(f"{name}: this is not YAML.", why=str(error)[:200]) from error
    if len(documents) != 1 or documents[0] is None:
        raise INVALID(
            f"{name} holds {len(documents)} documents.",
            why="A deployment is one YAML document that is not empty.",
        )
    return _Reader(name, yaml).read(documents[0], 0)


def load_yaml() -> Any:
    """Return PyYAML; raise EXTRA_MISSING if it is not installed."""
    try:
        import yaml  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise EXTRA_MISSING(
            "Deployment files are read with PyYAML, which is not installed.",
            hint="pip install 'skerry[market]'",
        ) from error
    return yaml


def _sentence(text: str | None) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""


class _Reader:
    def __init__(self, name: str, yaml: Any) -> None:
        self._name = name
        self._yaml = yaml
        self._nodes = 0

    def read(self, node: Any, depth: int) -> Node:
        self._nodes += 1
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        if depth > DEPTH_MAX or self._nodes > NODES_MAX:
            raise self._error(
                line, column, "the file nests too deep or repeats too much by aliases."
            )
        if isinstance(node, self._yaml.MappingNode):
            return Node(self._mapping(node, depth), line, column)
        if isinstance(node, self._yaml.SequenceNode):
            return Node([self.read(each, depth + 1) for each in node.value], line, column)
        return Node(_scalar(node), line, column)

    def _mapping(self, node: Any, depth: int) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for key, value in self._pairs(node, depth):
            line, column = key.start_mark.line + 1, key.start_mark.column + 1
            if not isinstance(key, self._yaml.ScalarNode):
                raise self._error(line, column, "a key must be text.")
            if key.value in found:
                first = found[key.value].line
                raise self._error(line, column, f"{key.value} is here twice (see line {first}).")
            read = self.read(value, depth + 1)
            block = isinstance(read.value, dict | list) or read.value is None
            at = (line, column) if block else (read.line, read.column)
            found[key.value] = Node(read.value, at[0], at[1], (line, column))
        return found

    def _pairs(self, node: Any, depth: int) -> Iterator[tuple[Any, Any]]:
        """Yield keys and values; what `<<` merges comes last and does not override."""
        own = [pair for pair in node.value if pair[0].value != "<<"]
        names = {key.value for key, _ in own if isinstance(key, self._yaml.ScalarNode)}
        yield from own
        for key, value in node.value:
            if key.value != "<<":
                continue
            sources = value.value if isinstance(value, self._yaml.SequenceNode) else [value]
            for source in sources:
                if not isinstance(source, self._yaml.MappingNode) or depth > DEPTH_MAX:
                    mark = key.start_mark
                    raise self._error(mark.line + 1, mark.column + 1, "<< merges mappings only.")
                for pair in self._pairs(source, depth + 1):
                    if pair[0].value not in names:
                        names.add(pair[0].value)
                        yield pair

    def _error(self, line: int, column: int, what: str) -> SkerryError:
        return INVALID(f"{self._name}:{line}:{column}: {what}")


def _scalar(node: Any) -> str | int | float | bool | None:
    text: str = node.value
    if node.style in {"'", '"', "|", ">"}:
        return text
    if text in _NULLS:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _WHOLE.fullmatch(text) and len(text) <= 20:
        return int(text)
    if _OCTAL.fullmatch(text) or _HEX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text) and len(text) <= 40:
        return float(text)
    return text
