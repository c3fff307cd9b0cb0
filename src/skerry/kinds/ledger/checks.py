"""What `skerry doctor` says of ledgers."""

from __future__ import annotations

from pathlib import Path

from skerry.kernel.commands import Check
from skerry.kinds.ledger.book import has_compiler

_CACHE = Path(__file__).with_name("compiled") / "__pycache__"


def checks() -> list[Check]:
    """Tell which machine runs ledgers here."""
    if has_compiler() and any(_CACHE.glob("batch.run-*.nbi")):
        return [Check("ledger", True, "Busy ledgers run on the compiled machine (numba).")]
    if has_compiler():
        detail = "Busy ledgers run on the compiled machine, which is compiled anew at each start."
        return [Check("ledger", True, detail, "python -m skerry.kinds.ledger.compiled")]
    return [
        Check(
            "ledger",
            False,
            "Ledgers run on the plain Python machine: right, but some 20 times slower.",
            "pip install 'skerry[ledger]'",
        )
    ]
