"""What the machine notes of accounts and transfers beside their rows."""

from __future__ import annotations

import numpy as np

from skerry.kinds.ledger.compiled.jit import part
from skerry.kinds.ledger.compiled.layout import ACCOUNT_NOTES, TRANSFER_NOTES, U
from skerry.kinds.ledger.compiled.memory import base, keep, load

_ACCOUNT_WORDS, _TRANSFER_WORDS = 12, 8


@part
def account_note(store: int, row: int, what: int) -> int:
    """Return what is noted of an account."""
    return np.int64(load(base(store, ACCOUNT_NOTES), row * _ACCOUNT_WORDS + what))


@part
def note_account(store: int, row: int, what: int, value: int) -> None:
    """Note something of an account."""
    keep(base(store, ACCOUNT_NOTES), row * _ACCOUNT_WORDS + what, U(value))


@part
def transfer_note(store: int, row: int, what: int) -> int:
    """Return what is noted of a transfer."""
    return np.int64(load(base(store, TRANSFER_NOTES), row * _TRANSFER_WORDS + what))


@part
def note_transfer(store: int, row: int, what: int, value: int) -> None:
    """Note something of a transfer."""
    keep(base(store, TRANSFER_NOTES), row * _TRANSFER_WORDS + what, U(value))
