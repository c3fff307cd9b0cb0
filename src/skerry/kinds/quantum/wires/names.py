"""Which folder answers which paths."""

from __future__ import annotations

VENDORS = frozenset({"aqt", "braket", "ibm", "ionq", "iqm", "scaleway"})
"""First segments of paths that belong to a vendor's wire."""

ROOTS = {
    "/api/v1/quantum-computers": "iqm",
    "/api/v1/jobs": "iqm",
    "/api/v1/about": "iqm",
    "/api/v1/calibration-sets": "iqm",
}
"""Paths of clients that refuse a base URL with a path, and their folders."""
