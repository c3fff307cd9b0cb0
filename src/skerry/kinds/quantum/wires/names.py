"""Which folder answers which paths."""

from __future__ import annotations

VENDORS = frozenset({"braket", "ibm", "ionq"})
"""First segments of paths that belong to a vendor's wire."""

ROOTS: dict[str, str] = {"/v0.4": "ionq"}
"""Paths of clients that refuse a base URL with a path, and their folders."""
