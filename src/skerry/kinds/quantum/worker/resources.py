"""How many physical qubits, and how much time, a program needs with error correction.

By the estimator of Microsoft's qdk (arXiv:2211.07629). The topological targets assume qubits that
nobody has shown.
"""

from __future__ import annotations

from typing import Any

from .emitting import openqasm3
from .ir import UnsupportedError
from .qasm import read

TARGETS: tuple[tuple[str, str, str], ...] = (
    ("gate-ns-e3", "qubit_gate_ns_e3", "surface_code"),
    ("gate-ns-e4", "qubit_gate_ns_e4", "surface_code"),
    ("gate-us-e3", "qubit_gate_us_e3", "surface_code"),
    ("gate-us-e4", "qubit_gate_us_e4", "surface_code"),
    ("majorana-ns-e4", "qubit_maj_ns_e4", "floquet_code"),
    ("majorana-ns-e6", "qubit_maj_ns_e6", "floquet_code"),
)
"""Name of a target, the estimator's qubit model, and the error-correcting code."""

WORKLOADS: dict[str, dict[str, int]] = {
    "rsa-2048": {
        "numQubits": 12581,
        "tCount": 12,
        "rotationCount": 12,
        "rotationDepth": 12,
        "cczCount": 3731607428,
        "measurementCount": 1078154040,
    }
}
"""Logical counts of workloads whose estimates are published, to compare with."""

_NANOSECONDS = 1e9


def resources(params: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an estimate for every target, with the trade of qubits for time."""
    budget = float(params["error_budget"])
    if not 0.0 < budget < 1.0:
        raise UnsupportedError("The error budget is a chance between 0 and 1.")
    if params["format"] == "openqasm" and not params.get("workload"):
        # qdk takes one dialect only; ours are read and written in it.
        circuit = read(params["source"], {})
        params = params | {"source": openqasm3(circuit)}
    return [_estimate(params, *target, budget) for target in TARGETS]


def _estimate(
    params: dict[str, Any], name: str, qubit: str, code: str, budget: float
) -> dict[str, Any]:
    asked = {"qubitParams": {"name": qubit}, "qecScheme": {"name": code}, "errorBudget": budget}
    try:
        found = _asked(params, asked)
        front = _asked(params, asked | {"estimateType": "frontier"})
    except UnsupportedError:
        raise
    except Exception as error:  # the estimator's failures have no common class
        text = str(error).strip()
        head = text.splitlines()[0] if text else type(error).__name__
        what = "The program cannot be estimated."
        raise UnsupportedError(what, f"{head}: {text[:300]}") from error
    counts, logical = found["physicalCounts"], found["logicalQubit"]
    factories = counts["breakdown"]["numTfactories"]
    return {
        "target": name,
        "code": code,
        "hypothetical": name.startswith("majorana"),
        "qubits": counts["physicalQubits"],
        "seconds": counts["runtime"] / _NANOSECONDS,
        "logical_qubits": counts["breakdown"]["algorithmicLogicalQubits"],
        "code_distance": logical["codeDistance"],
        "factories": factories,
        "frontier": [
            [each["physicalCounts"]["physicalQubits"], each["physicalCounts"]["runtime"] / 1e9]
            for each in front["frontierEntries"]
        ],
    }


def _asked(params: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    import warnings  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the estimator announces its successor
        from qdk import estimator  # noqa: PLC0415

        if params.get("workload"):
            if params["workload"] not in WORKLOADS:
                raise UnsupportedError(
                    f"There is no workload {params['workload'][:40]}.",
                    f"Known: {', '.join(WORKLOADS)}.",
                )
            return dict(estimator.LogicalCounts(WORKLOADS[params["workload"]]).estimate(asked))
        if params["format"] == "qsharp":
            from qdk import qsharp  # noqa: PLC0415

            qsharp.init()
            qsharp.eval(params["source"])
            return dict(qsharp.estimate("Main()", asked))
        from qdk import openqasm  # noqa: PLC0415

        return dict(openqasm.estimate(params["source"], asked))
