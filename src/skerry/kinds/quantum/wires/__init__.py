"""The vendors' own protocols, one folder each, all of them translated to the desk and nothing else.

A vendor's clients are given a base URL that ends in the folder's name (`…/aqt`). Requests signed
for AWS need none, and neither do those of clients that accept no path in a URL (`names.ROOTS`).
`vendor` finds the folder of a request, and `frame.serve` does what is the same for all: reading,
sending, and turning every failure into the vendor's own shape.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from skerry.kinds.quantum.wires.names import ROOTS, STORE, VENDORS

if TYPE_CHECKING:
    from skerry.kinds.quantum.wires.frame import Vendor

_SIGNED = b"AWS4-HMAC-SHA256 "


def vendor(path: str, authorization: bytes) -> Vendor | None:
    """Return the wire of the vendor that a request is meant for, or None; imports it if need be."""
    name = "braket" if authorization.startswith(_SIGNED) else _folder(path)
    if name not in VENDORS:
        return None
    module, _, attribute = VENDORS[name].partition(":")
    found: Vendor = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    return found


def _folder(path: str) -> str:
    first = path.split("/", 2)[1] if path.startswith("/") else ""
    if first in VENDORS:
        return first
    if STORE.fullmatch(first):
        return "azure"
    return next(
        (name for root, name in ROOTS.items() if path == root or path.startswith(f"{root}/")), ""
    )
