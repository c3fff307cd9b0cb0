"""Which folder answers which paths."""

from __future__ import annotations

import re

VENDORS = {
    "aqt": "aqt.application:WIRE",
    "azure": "azure.application:WIRE",
    "braket": "braket.application:WIRE",
    "ibm": "ibm.application:WIRE",
    "ionq": "ionq.application:WIRE",
    "iqm": "iqm.application:WIRE",
    "pasqal": "pasqal.application:WIRE",
    "quandela": "quandela.application:WIRE",
    "scaleway": "scaleway.application:WIRE",
}
"""First segments of paths, and the vendors' wires that they belong to, relative to this package."""

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

STORE = re.compile("azure-([0-9a-f]{16})-.+")
"""First segments of the addresses of Azure's blobs, which name their resource and no vendor."""
