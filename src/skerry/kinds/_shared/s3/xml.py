"""XML as S3 uses it: elements with text or children, read with limits and without entities."""

from __future__ import annotations

from collections.abc import Iterator
from xml.parsers import expat
from xml.sax.saxutils import escape

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_DEPTH_MAX = 16
_ELEMENTS_MAX = 60_000
_CONTROL = {chr(code): f"&#x{code:x};" for code in range(32) if code not in (9, 10)}


class MalformedXMLError(ValueError):
    """The bytes are not an XML document of the allowed form."""


class Element:
    """An element: a name without its namespace, its text, its children and its attributes."""

    __slots__ = ("attributes", "children", "name", "text")

    def __init__(self, name: str, text: str = "") -> None:
        self.name = name
        self.text = text
        self.children: list[Element] = []
        self.attributes: dict[str, str] = {}

    def add(self, name: str, text: str | int | None = "") -> Element:
        """Append a child and return it; None appends nothing that is written."""
        child = Element(name, "" if text is None else str(text))
        if text is not None:
            self.children.append(child)
        return child

    def append(self, *children: Element) -> Element:
        """Append elements that exist; return this one."""
        self.children.extend(children)
        return self

    def find(self, name: str) -> Element | None:
        """Return the first child of that name."""
        return next((child for child in self.children if child.name == name), None)

    def all(self, name: str) -> Iterator[Element]:
        """Yield the children of that name."""
        return (child for child in self.children if child.name == name)

    def get(self, name: str, default: str = "") -> str:
        """Return the stripped text of the first child of that name."""
        child = self.find(name)
        return default if child is None else child.text.strip()

    def raw(self, name: str) -> str | None:
        """Return the unstripped text of the first child of that name, or None."""
        child = self.find(name)
        return None if child is None else child.text


def document(root: Element, namespace: str = NAMESPACE) -> bytes:
    """Return the bytes of a document."""
    if namespace:
        root.attributes["xmlns"] = namespace
    parts = ['<?xml version="1.0" encoding="UTF-8"?>\n']
    _write(root, parts)
    return "".join(parts).encode("utf-8", "surrogatepass")


def fragment(root: Element) -> str:
    """Return an element as text, without a declaration."""
    parts: list[str] = []
    _write(root, parts)
    return "".join(parts)


def _write(element: Element, parts: list[str]) -> None:
    attributes = "".join(f' {key}="{escape(value)}"' for key, value in element.attributes.items())
    parts.append(f"<{element.name}{attributes}>")
    if element.children:
        for child in element.children:
            _write(child, parts)
    else:
        parts.append(escape(element.text, _CONTROL))
    parts.append(f"</{element.name}>")


def parse(data: bytes) -> Element:
    """Parse a document of bounded depth and count; raise MalformedXMLError.

    Document types are refused, hence entities cannot grow.
    """
    reader = _Reader()
    try:
        reader.parser.Parse(data, True)
    except (expat.ExpatError, UnicodeError) as error:
        raise MalformedXMLError(str(error)) from error
    if reader.root is None:
        raise MalformedXMLError("no element")
    return reader.root


class _Reader:
    def __init__(self) -> None:
        self.root: Element | None = None
        self._stack: list[Element] = []
        self._count = 0
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > _ELEMENTS_MAX or len(self._stack) >= _DEPTH_MAX:
            raise MalformedXMLError("too many elements")
        element = Element(name.rpartition(" ")[2])
        element.attributes = {key.rpartition(" ")[2]: value for key, value in attributes.items()}
        if self._stack:
            self._stack[-1].children.append(element)
        else:
            self.root = element
        self._stack.append(element)

    def _end(self, _name: str) -> None:
        self._stack.pop()

    def _text(self, text: str) -> None:
        self._stack[-1].text += text

    def _doctype(self, *_: object) -> None:
        raise MalformedXMLError("a document type is not allowed")
