"""Arrays as IBM's executor sends them: little-endian bytes, packed by zlib and base64."""

from __future__ import annotations

import base64
import math
import zlib
from typing import Any

from .ir import UnsupportedError
from .qpy import unpacked

BYTES_MAX = 16 << 20
_KINDS = {
    "f16": "<f2",
    "f32": "<f4",
    "f64": "<f8",
    "i8": "<i1",
    "i16": "<i2",
    "i32": "<i4",
    "i64": "<i8",
    "u8": "<u1",
    "u16": "<u2",
    "u32": "<u4",
    "u64": "<u8",
    "c64": "<c8",
    "c128": "<c16",
}
_NAMES = {kind.lstrip("<"): name for name, kind in _KINDS.items()}


def read(found: dict[str, Any]) -> Any:
    """Return an array; raise UnsupportedError if its parts do not fit together."""
    import numpy as np  # noqa: PLC0415

    shape = [int(each) for each in found["shape"]]
    data = unpacked(found["data"], BYTES_MAX)
    size = math.prod(shape)
    if found["dtype"] == "bool":
        if min(shape, default=0) < 0 or len(data) != (size + 7) // 8:
            raise UnsupportedError("An array has another size than its shape says.")
        bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little")
        return bits[:size].astype(bool).reshape(shape)
    if found["dtype"] not in _KINDS:
        raise UnsupportedError(f"Arrays of {found['dtype']!s:.20} are not known.")
    kind = np.dtype(_KINDS[found["dtype"]])
    if min(shape, default=0) < 0 or len(data) != size * kind.itemsize:
        raise UnsupportedError("An array has another size than its shape says.")
    array = np.frombuffer(data, dtype=kind).reshape(shape)
    if not np.all(np.isfinite(array)):
        raise UnsupportedError("An array holds what is no number.")
    return array


def packed(array: Any) -> dict[str, Any]:
    """Return an array as it is sent."""
    import numpy as np  # noqa: PLC0415

    if array.dtype == bool:
        name, data = "bool", np.packbits(array, bitorder="little").tobytes()
    else:
        kind = f"{array.dtype.kind}{array.dtype.itemsize}"
        name, data = _NAMES[kind], array.astype(f"<{kind}").tobytes()
    text = base64.b64encode(zlib.compress(data)).decode()
    return {"data": text, "shape": list(array.shape), "dtype": name}
