"""An estimator's PUBs with errors mitigated, by IBM's own library qiskit-mitigation.

*Readout* (TREX, arXiv:2012.09738): readings are twirled, and a circuit that does nothing tells by
how much each observable shrinks. *Zero noise* (gate folding, arXiv:2005.10921): gates of two qubits
are done 1, 3, 5 times, and the means extrapolated to none. What is drawn and run is made by `read`;
`finished` makes means of what came of it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from . import pubs
from .ir import UnsupportedError
from .programs import Programs
from .qpy import registers_of
from .randomised import add, boxing, split
from .tensors import packed
from .tensors import read as read_tensor

_FOLDING = {"gate_folding": "random", "gate_folding_front": "front", "gate_folding_back": "back"}


class Asked(NamedTuple):
    """A PUB as it was read, and how often it runs; terms are (text, coefficient)."""

    circuit: Any
    values: Any
    terms: list[list[tuple[str, float]]]
    outer: list[int]
    randomisations: int
    shots: int


class Mitigation:
    """One call: the PUBs share one calibration of the readings, and the qubits that any uses."""

    def __init__(self, params: dict[str, Any], made: Programs) -> None:
        self._params, self._made = params, made
        self._noise: dict[str, Any] = params["noise"]
        self._asked: list[Asked] = []
        self._tasks: list[dict[str, Any]] = []

    def read(self, pub: Any) -> dict[str, Any]:
        """Take a PUB; return what its result says of it."""
        import numpy as np  # noqa: PLC0415

        circuit = pubs.circuit(pub[0])
        if circuit.has_control_flow_op() or any(each.name == "measure" for each in circuit.data):
            raise UnsupportedError("A circuit for mitigation measures and decides nothing itself.")
        values, shape = pubs.bindings(pub[2] if len(pub) > 2 else None, circuit)
        terms, outer = pubs.observables(pub[1], circuit.num_qubits)
        texts = {text for each in terms for text, _ in each}
        if self._noise["readout"] and any(set(text) & pubs.PROJECTORS for text in texts):
            raise UnsupportedError(
                "Readout mitigation is for observables of I, X, Y, Z.",
                "Write projectors as sums of these, or set measure_mitigation to false.",
            )
        precision = pubs.precision(pub[3] if len(pub) > 3 else None, self._params["precision"])
        shots = math.ceil(1 / precision**2 - 1e-9)
        twirls = self._noise["gates"] or self._noise["measure"]
        count, each = split(shots, self._noise) if twirls else (1, shots)
        given = np.array(values, dtype=float).reshape(*shape, len(circuit.parameters))
        self._asked.append(Asked(circuit, given, terms, outer, count, each))
        return {"shots": count * each, "precision": precision, "randomisations": count}

    def items(self) -> list[dict[str, Any]]:
        """Return the places of the results of all that runs, the calibration too."""
        from qiskit_mitigation import TREX  # noqa: PLC0415 (seconds; only where it is wanted)
        from samplomatic.quantum_program import QuantumProgram  # noqa: PLC0415

        places = sorted({place for each in self._asked for place in _used(each)})
        program = QuantumProgram(shots=1)
        trex = TREX() if self._noise["readout"] else None
        shots: list[int] = []
        for each in self._asked:
            self._prepare(each, places, program, trex)
            shots += [each.shots] * (len(program.items) - len(shots))
        if trex is not None:
            most = max(each.shots * each.randomisations for each in self._asked)
            count, often = split(most, self._noise["learning"])
            trex.prepare(count, program)
            shots.append(often)
        self._tasks = (program.passthrough_data or {})["qiskit_mitigation"]
        pairs = enumerate(zip(program.items, shots, strict=True))
        return [self._item(item, often, number, places) for number, (item, often) in pairs]

    def _prepare(self, asked: Asked, places: list[int], program: Any, trex: Any) -> None:
        import numpy as np  # noqa: PLC0415
        from qiskit.primitives.containers import bindings_array, observables_array  # noqa: PLC0415
        from qiskit_mitigation import GateFolding, MitigationTask  # noqa: PLC0415

        terms = np.empty(len(asked.terms), dtype=object)
        terms[:] = [
            {"".join(text[-1 - place] for place in reversed(places)): value for text, value in each}
            for each in asked.terms
        ]
        names = {tuple(asked.circuit.parameters): asked.values} if asked.circuit.parameters else {}
        zne = self._noise["zne"]
        program.shots = asked.shots  # a program has one number of them; here every PUB has its own
        task = GateFolding() if zne else MitigationTask()
        task.prepare(
            _narrowed(asked.circuit, places),
            observables_array.ObservablesArray(terms.reshape(asked.outer)),
            bindings_array.BindingsArray(names, asked.values.shape[:-1]),
            boxing(self._noise),
            shots_per_randomization=asked.shots,
            num_randomizations=asked.randomisations,
            broadcast_obs_and_params=True,
            trex=trex,
            quantum_program=program,
            **_folding(zne),
        )

    def _item(self, item: Any, shots: int, number: int, places: list[int]) -> dict[str, Any]:
        drawn, numbers = add(item, self._made, self._params, number, places)
        return {
            "shape": list(drawn.shape),
            "shots": shots,
            "registers": registers_of(item.circuit),
            "programs": numbers,
            "tensors": {name: packed(each) for name, each in drawn.tensors.items()},
        }

    def told(self, found: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what `finished` needs to know later."""
        return {"pubs": found, "tasks": _plain(self._tasks)}


def _used(asked: Asked) -> set[int]:
    """Return the qubits that a circuit acts on, or that its observables read."""
    number = {qubit: place for place, qubit in enumerate(asked.circuit.qubits)}
    found = {
        number[q] for each in asked.circuit.data if each.name != "barrier" for q in each.qubits
    }
    for text in (text for each in asked.terms for text, _ in each):
        found |= {place for place, sign in enumerate(reversed(text)) if sign != "I"}
    return found or {0}


def _narrowed(circuit: Any, places: list[int]) -> Any:
    """Return a circuit over some of its qubits alone; nothing acts on the others."""
    from qiskit import QuantumCircuit  # noqa: PLC0415

    found = QuantumCircuit(len(places))
    at = {circuit.qubits[place]: number for number, place in enumerate(places)}
    for each in circuit.data:
        kept = [at[qubit] for qubit in each.qubits if qubit in at]
        if each.name == "barrier":
            found.barrier(kept)
        else:
            found.append(each.operation, kept)
    return found


def _folding(zne: dict[str, Any] | None) -> dict[str, Any]:
    if not zne:
        return {}
    return {
        "folding_method": _FOLDING[zne["amplifier"]],
        "noise_factors": zne["noise_factors"],
        "extrapolator": zne["extrapolator"],
        "extrapolated_noise_factors": zne["extrapolated_noise_factors"],
    }


def _plain(found: Any) -> Any:
    """Return data without arrays and tuples, as JSON has it."""
    if isinstance(found, dict):
        return {str(name): _plain(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [_plain(value) for value in found]
    return found.tolist() if hasattr(found, "tolist") else found


def finished(params: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the fields of every PUB's result: means, errors, and what they were made of."""
    import numpy as np  # noqa: PLC0415
    from qiskit_mitigation import load_tasks_from_result  # noqa: PLC0415
    from samplomatic.quantum_program import QuantumProgramResult  # noqa: PLC0415

    data = [{name: read_tensor(each) for name, each in item.items()} for item in params["items"]]
    tasks = []
    for each in params["tasks"]:
        known = {**each}
        for name in ("noise_factors", "extrapolated_noise_factors"):
            if known.get(name) is not None:
                known[name] = np.array(known[name], dtype=float)
        tasks.append(known)
    result = QuantumProgramResult(data, {"qiskit_mitigation": tasks})
    place = next((e["program_item_index"] for e in tasks if e["mitigation"] == "trex"), None)
    readings = None if place is None else _unflipped(data[place])
    found = []
    for task in load_tasks_from_result(result):
        task.param_shape = tuple(task.param_shape or ())
        done = task.postprocess(result, measure_noise_data=readings)
        found.append(_fields(done, zne=hasattr(task, "noise_factors")))
    return found


def _unflipped(calibration: dict[str, Any]) -> Any:
    """Return what qubits in 0 were read as, without the flips of twirling.

    They are given to the library as they are: from the chance p of a wrong reading it would make a
    factor of exp(2 p), which is 1 / (1 - 2 p) for small errors alone.
    """
    return calibration["_meas"] ^ calibration["measurement_flips._meas"]


def _fields(done: Any, *, zne: bool) -> dict[str, Any]:
    """Return a result's arrays by the names that IBM's documentation gives them."""
    data = done.data
    names = {"evs": "evs", "stds": "twirl_stds", "ensemble_standard_error": "stds"}
    if zne:
        names = {
            "evs": "evs",
            "stds": "stds",
            "evs_noise_factors": "evs_noise_factors",
            "stds_noise_factors": "stds_twirl_noise_factors",
            "ensemble_stds_noise_factors": "stds_noise_factors",
            "evs_extrapolated": "evs_extrapolated",
            "stds_extrapolated": "stds_extrapolated",
        }
    fields = {name: getattr(data, inner) for name, inner in names.items()}
    return {
        "shape": list(data.evs.shape),
        "fields": {
            name: {"shape": list(each.shape), "values": list(map(_finite, each.ravel().tolist()))}
            for name, each in fields.items()
        },
        "extrapolators": (done.metadata or {}).get("selected_extrapolators", []),
    }


def _finite(value: float) -> float | None:
    """Return a number that JSON has; where a fit failed there is none."""
    return value if math.isfinite(value) else None
