"""Where things are: tables and their words, bits of flags.

All tables have rows of unsigned 64-bit words:

    ACCOUNTS        id 0 1, debits pending 2 3, posted 4 5, credits pending 6 7, posted 8 9
    TRANSFERS       id 0 1, debit account 2 3, credit account 4 5, amount 6 7, pending id 8 9
      both          user data 10 11 (128), 12 (64), 13: user data (32) and reserved or timeout
                    14: ledger (32), code (16), flags (16); 15: timestamp
    MOMENTS         debit balances 0-7, credit balances 8-15, timestamp 16, transfer 17,
                    18: both flags (16 each) and type (8)
    BURNED          id 0 1
    HEAP            expiry 0, timestamp 1, transfer 2
    LEDGERS         number 0, pending and posted differences 1 2 and 3 4
    ACCOUNT_NOTES   last transfer plus one 0, touched 1, hash 2, place in LEDGERS plus one 3,
                    balances as the audit saw them 4-11
    TRANSFER_NOTES  fate 0, fate as the audit saw it 1, rows of the accounts 2 3, each account's
                    transfer before plus one 4 5, moment 6
    UNDO            see `changes.note_undo`
    slots           open hash tables: see `table`
"""

from __future__ import annotations

import numpy as np

U = np.uint64
ZERO, ONE, MAX = U(0), U(1), U(2**64 - 1)
LOW32 = U(0xFFFF_FFFF)
LOW16 = U(0xFFFF)
LOW48 = U(2**48 - 1)
TIME_MAX = U(2**63 - 1)
NANOSECONDS = U(1_000_000_000)
S16, S27, S30, S31, S32, S48 = U(16), U(27), U(30), U(31), U(32), U(48)

ACCOUNTS, TRANSFERS, MOMENTS, BURNED, HEAP, LEDGERS, TOUCHED, DECIDED, UNDO = range(9)
ACCOUNT_NOTES, TRANSFER_NOTES, ACCOUNT_SLOTS, TRANSFER_SLOTS, LEDGER_SLOTS = range(9, 14)
WIDTHS = (16, 16, 20, 2, 3, 5, 1, 1, 24, 12, 8, 1, 1, 1)
"""How many words the rows of each table have."""

IN_CHAIN, DIGEST = 14, 15
ACCOUNT_MASK, TRANSFER_MASK, LEDGER_MASK, SEED, FETCHED = 16, 17, 18, 19, 20
"""Other words of a store's page: one less than the sizes of the hash tables, and their seed."""

ADDRESSES = 21
PAGE_WORDS = ADDRESSES + len(WIDTHS)

NEWEST, IS_TOUCHED, HASH, LEDGER, SEEN = 0, 1, 2, 3, 4
FATE, SEEN_FATE, DEBIT, CREDIT, BEFORE_DEBIT, BEFORE_CREDIT, MOMENT = range(7)

NONE, PENDING_FATE, POSTED_FATE, VOIDED_FATE, EXPIRED_FATE = 0, 1, 2, 3, 4

LINKED = 1
DEBITS_LIMITED, CREDITS_LIMITED, HISTORY, ACCOUNT_IMPORTED, CLOSED = 2, 4, 8, 16, 32
CLOSED_BIT = U(CLOSED) << S48
PENDING, POST, VOID = 2, 4, 8
BALANCING_DEBIT, BALANCING_CREDIT, CLOSING_DEBIT, CLOSING_CREDIT = 16, 32, 64, 128
IMPORTED = 256
ACCOUNT_FLAGS, TRANSFER_FLAGS = 0x3F, 0x1FF

CREATED = 0xFFFF_FFFF
