"""Plain JSON values as arguments: what D1 and the first version of the protocol take."""

from __future__ import annotations

import base64
from typing import Any

from skerry.kinds.sqlite.failure import HranaError
from skerry.kinds.sqlite.hrana import Answer, Blob, Float, Integer, Null, Text, Value


def from_json(item: Any) -> Value:
    """Return the argument that a plain JSON value means; raise HranaError if it means none.

    A list of small numbers is a blob, as D1 sends it, and so is `{"base64": …}`.
    """
    if item is None:
        return Null()
    if isinstance(item, bool | int):
        return Integer(int(item))
    if isinstance(item, float):
        return Float(item)
    if isinstance(item, str):
        return Text(item)
    if isinstance(item, list) and all(isinstance(each, int) and 0 <= each < 256 for each in item):
        return Blob(base64.b64encode(bytes(item)).decode())
    if isinstance(item, dict) and isinstance(item.get("base64"), str):
        return Blob(item["base64"])
    raise HranaError("A parameter is no value of SQLite.", "ARGS_INVALID")


def bytes_of(item: Answer) -> bytes:
    """Return the bytes of a blob in an answer."""
    digits: str = item["base64"]
    return base64.b64decode(digits + "=" * (-len(digits) % 4))
