"""Fills the cache of machine code: `python -m skerry.kinds.ledger.compiled`."""

from __future__ import annotations

import sys

from skerry.kinds.ledger.compiled.jit import CACHE, writable
from skerry.kinds.ledger.compiled.warm import warm

if not writable():
    sys.exit(f"{CACHE} cannot be written to: run this as its owner.")
warm()
sys.stdout.write(f"The ledger's machine code is in {CACHE}.\n")
