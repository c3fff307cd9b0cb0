"""Reading and writing `multipart/form-data` (RFC 7578) in memory, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Mapping

from skerry.kernel.errors import INVALID

PARTS_MAX = 16

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'\bname="([^"]*)"', re.IGNORECASE)


def parts(content_type: str, body: bytes) -> dict[str, bytes]:
    """Return the fields of a form; raise INVALID if it is not well-formed."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise INVALID("The form names no boundary.")
    delimiter = b"\r\n--" + (found[1] or found[2]).encode("latin-1")
    pieces = (b"\r\n" + body).split(delimiter, PARTS_MAX + 2)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise INVALID("The form does not end with its boundary, or has too many parts.")
    fields: dict[str, bytes] = {}
    for piece in pieces[1:-1]:
        head, separator, content = piece.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if not separator or name is None:
            raise INVALID("A part of the form has no name.")
        fields[name[1].decode()] = content
    return fields


def form(fields: Mapping[str, bytes], boundary: str) -> tuple[str, bytes]:
    """Return the content type and the bytes of a form; no field may hold the boundary."""
    pieces = []
    for name, content in fields.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        pieces += [head.encode(), content, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(pieces)
