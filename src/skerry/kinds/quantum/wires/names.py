"""Which folder answers which paths."""

from __future__ import annotations

VENDORS = frozenset({"braket"})
"""First segments of paths that belong to a vendor's wire."""

ROOTS: dict[str, str] = {}
"""Paths of clients that refuse a base URL with a path, and their folders."""
