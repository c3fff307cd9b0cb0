"""How many physical qubits, and how much time, a program needs with error correction.

By the estimator of Microsoft's qdk (arXiv:2211.07629). The topological targets assume qubits that
nobody has shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from . import qir
from .emitting import openqasm3
from .ir import UnsupportedError
from .qasm import read

_Found = TypeVar("_Found")

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
    },
    "chemistry": {
        "numQubits": 1318,
        "tCount": 96,
        "rotationCount": 11987084,
        "rotationDepth": 11986482,
        "cczCount": 67474931068,
        "measurementCount": 63472407520,
    },
}
"""Logical counts of workloads whose estimates are published, to compare with.

`chemistry` is a molecule of 64 electrons in 56 orbitals by double factorisation, with the counts of
Microsoft's samples (XVIII-cas4-fb-64e-56o) and an error budget of 0.01.
"""

ERROR_BUDGET = 1e-3
PUBLISHED_BUDGETS = {"rsa-2048": 0.333, "chemistry": 0.01}
"""What chance of failure the published estimates of workloads allow."""

_NANOSECONDS = 1e9
_DISTANCES = list(range(3, 51, 2))


def resources(params: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an estimate for every target, with the trade of qubits for time.

    An error budget of 0 stands for the usual one, which for a workload is that of its publication.
    """
    usual = PUBLISHED_BUDGETS.get(params.get("workload") or "", ERROR_BUDGET)
    budget = float(params["error_budget"]) or usual
    if not 0.0 < budget < 1.0:
        raise UnsupportedError("The error budget is a chance between 0 and 1.")
    if params["format"] != "qsharp" and not params.get("workload"):
        # qdk takes one dialect only; ours are read and written in it.
        text = params["source"]
        circuit = qir.read(text) if params["format"] == "qir" else read(text, {})
        params = params | {"source": openqasm3(circuit), "format": "openqasm"}
    found = [_estimate(params, *target, budget) for target in TARGETS]
    return [*found, *_atoms(params, budget)]


def estimate(params: dict[str, Any]) -> dict[str, Any]:
    """Return what the estimator tells of a program in QIR, for the parameters in `asked`.

    Its answer is Microsoft's format `microsoft.resource-estimates.v1`. Raises UnsupportedError.
    """
    circuit = qir.read(params["source"])
    asked = {"source": openqasm3(circuit), "format": "openqasm"}
    return _failing(lambda: _asked(asked, params["asked"]))


def _failing(job: Callable[[], _Found]) -> _Found:
    """Return what the estimator gives; its failures have no common class."""
    try:
        return job()
    except UnsupportedError:
        raise
    except Exception as error:
        text = str(error).strip()
        head = text.splitlines()[0] if text else type(error).__name__
        what = "The program cannot be estimated."
        raise UnsupportedError(what, f"{head}: {text[:300]}") from error


def _atoms(params: dict[str, Any], budget: float) -> list[dict[str, Any]]:
    """Return the estimate for neutral atoms that are moved, by qdk's successor of the estimator.

    There is none where no code that it knows keeps the error within the budget.
    """
    from qdk import qre  # noqa: PLC0415
    from qdk.qre import models, property_keys  # noqa: PLC0415

    try:
        factories = (models.GSJ24Factory, models.Litinski19Factory, models.RoundBasedFactory)
        found = [
            entry
            for each in factories
            for entry in qre.estimate(
                _application(params),
                models.NeutralAtom(),
                models.SurfaceCodeLowMove.q(distance=_DISTANCES) * each.q(),
                qre.PSSPC.q() * qre.LatticeSurgery.q(),
                max_error=budget,
            )
        ]
    except UnsupportedError:
        raise
    except Exception as error:  # the estimator's failures have no common class
        what = "The program cannot be estimated for neutral atoms."
        raise UnsupportedError(what, str(error)[:300]) from error
    if not found:
        return []
    front = _frontier([(each.qubits, each.runtime / _NANOSECONDS) for each in found])
    best = min(found, key=lambda each: (each.runtime, each.qubits))
    row = {
        "target": "neutral-atom",
        "code": "surface code, moved ancillas",
        "hypothetical": False,
        "qubits": best.qubits,
        "seconds": best.runtime / _NANOSECONDS,
        "logical_qubits": int(best.properties[property_keys.LOGICAL_COMPUTE_QUBITS]),
        "code_distance": _distance(str(best.source)),
        "factories": sum(each.copies for each in best.factories.values()),
        "frontier": front,
    }
    return [row]


def _frontier(points: list[tuple[int, float]]) -> list[list[float]]:
    """Return the points that no other beats in both qubits and time, the fewest qubits first."""
    kept: list[list[float]] = []
    for qubits, seconds in sorted(points):
        if not kept or seconds < kept[-1][1]:
            kept.append([qubits, seconds])
    return kept


def _application(params: dict[str, Any]) -> Any:
    from qdk import estimator  # noqa: PLC0415
    from qdk.qre import application  # noqa: PLC0415

    if params.get("workload"):
        counts = estimator.LogicalCounts(WORKLOADS[params["workload"]])
        return application.QSharpApplication(counts)
    if params["format"] == "qsharp":
        return application.QSharpApplication("Main()")
    return application.OpenQASMApplication(params["source"])


def _distance(source: str) -> int:
    found = re.search(r"distance=(\d+)", source)
    return int(found[1]) if found else 0


def _estimate(
    params: dict[str, Any], name: str, qubit: str, code: str, budget: float
) -> dict[str, Any]:
    asked = {"qubitParams": {"name": qubit}, "qecScheme": {"name": code}, "errorBudget": budget}
    found = _failing(lambda: _asked(params, asked))
    front = _failing(lambda: _asked(params, asked | {"estimateType": "frontier"}))
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
        "logical_depth": counts["breakdown"]["logicalDepth"],
        "t_states": counts["breakdown"]["numTstates"],
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
