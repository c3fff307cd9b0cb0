"""Tables of 64-bit words at plain addresses, as the compiled functions see them.

A *store* is the address of a page of words: first how many rows of each table are in use, then the
addresses of the tables. Functions pass one number instead of dozens of arrays, whose reference
counts alone would cost more than the work.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from skerry.kinds.ledger.compiled.jit import part
from skerry.kinds.ledger.compiled.layout import ADDRESSES, U

_WORD = ir.IntType(64)


def _place(builder: Any, address: Any, index: Any) -> Any:
    pointer = builder.inttoptr(address, ir.PointerType(_WORD))
    return builder.gep(pointer, [index])


@intrinsic
def load(typingctx: Any, address: Any, index: Any) -> Any:
    """Read the word at an index from an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_place(builder, *args))

    return types.uint64(types.int64, types.int64), codegen


@intrinsic
def keep(typingctx: Any, address: Any, index: Any, value: Any) -> Any:
    """Write a word to an index from an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _place(builder, args[0], args[1]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.uint64), codegen


@part
def count(store: int, table: int) -> int:
    """Return how many rows of a table are in use, or another counter."""
    return np.int64(load(store, table))


@part
def set_count(store: int, table: int, value: int) -> None:
    """Set a counter."""
    keep(store, table, U(value))


@part
def base(store: int, table: int) -> int:
    """Return the address of a table."""
    return np.int64(load(store, ADDRESSES + table))


@part
def word(rows: int, row: int, at: int) -> Any:
    """Return a word of an account or a transfer."""
    return load(rows, row * 16 + at)


@part
def set_word(rows: int, row: int, at: int, value: Any) -> None:
    """Set a word of an account or a transfer."""
    keep(rows, row * 16 + at, value)
