"""Which folder answers which paths."""

from __future__ import annotations

VENDORS = frozenset({"aqt", "braket", "ibm", "ionq", "iqm"})
"""First segments of paths that belong to a vendor's wire."""

ROOTS = {
    "/v0.4": "ionq",
    "/api/v1/about": "iqm",
    "/api/v1/calibration-sets": "iqm",
    "/api/v1/jobs": "iqm",
    "/api/v1/quantum-computers": "iqm",
    "/api/v1/resources": "aqt",
    "/api/v1/result": "aqt",
    "/api/v1/submit": "aqt",
    "/api/v1/workspaces": "aqt",
}
"""Paths of clients that drop the path of a base URL, and their folders."""
