"""What is published of workloads with error correction, to put beside our own estimates."""

from __future__ import annotations

SOURCE = (
    "published: arXiv:2211.07629, the rows of factoring RSA-2048, physical qubits and time to two "
    "digits (recalled; the neutral atoms are not in it)"
)
FIGURES: dict[str, dict[str, str]] = {
    "rsa-2048": {
        "gate-ns-e3": "37 M, 1.5 d",
        "gate-ns-e4": "8.7 M, 18 h",
        "gate-us-e3": "37 M, 6 y",
        "gate-us-e4": "8.7 M, 3 y",
        "majorana-ns-e4": "26 M, 15 h",
        "majorana-ns-e6": "6.2 M, 7 h",
    }
}
"""Physical qubits and time of a workload on each target."""
