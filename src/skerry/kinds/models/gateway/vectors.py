"""Embeddings in the length and encoding that a client asked for."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any


def as_asked(vector: Any, dimensions: int | None, as_base64: bool) -> Any:
    """Return a vector, shortened and scaled to length 1 if it is longer than asked, and encoded.

    Shortening is what models do that were trained for it (Kusupati et al., Matryoshka
    Representation Learning, 2022); of others it keeps less of the meaning.
    """
    if isinstance(vector, str):
        raw = base64.b64decode(vector)
        vector = list(struct.unpack(f"<{len(raw) // 4}f", raw))
    if dimensions is not None and 0 < dimensions < len(vector):
        vector = vector[:dimensions]
        norm = math.sqrt(sum(each * each for each in vector)) or 1.0
        vector = [each / norm for each in vector]
    if not as_base64:
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
