"""What `skerry doctor` says of ledgers."""

from __future__ import annotations

from skerry.kernel.commands import Check
from skerry.kinds.ledger.book import has_compiler


def checks() -> list[Check]:
    """Tell which machine runs ledgers here."""
    if has_compiler():
        return [Check("ledger", True, "Ledgers run on the compiled machine (numba).")]
    return [
        Check(
            "ledger",
            False,
            "Ledgers run on the plain Python machine: right, but some 20 times slower.",
            "pip install 'skerry[ledger]'",
        )
    ]
