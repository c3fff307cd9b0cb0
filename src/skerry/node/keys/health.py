"""What `skerry doctor` says of keys."""

from __future__ import annotations

from skerry.kernel.commands import Check


def checks() -> list[Check]:
    """Return whether age identities can be used here."""
    try:
        import pyrage  # noqa: F401, PLC0415 (an extra)
    except ImportError:
        return [
            Check("keys", ok=False, detail="no age identities", hint="pip install 'skerry[keys]'")
        ]
    return [Check("keys", ok=True, detail="folders, age identities and transit services")]
