"""Runs one circuit: compile, add noise, choose an engine, sample, read, count."""

from __future__ import annotations

import functools
import json
import sys
from typing import Any

from . import emitting, routing, stretching
from .apart import Part, parts
from .compiling import compiled
from .conditions import bits_of
from .devices import device, is_virtual
from .ir import BLOCKS, Circuit, Op, UnsupportedError, decided, flat, is_dynamic, measured
from .names import FED_REGISTER
from .noise import CHANNELS, Noisy, ideal, twin
from .outcomes import counts_of, text_of

DEFAULT_REGISTER = "meas"
READY_OPERATIONS_MAX = 5000


def parsed(params: dict[str, Any]) -> Circuit:
    """Return the circuit of a program in any of the formats; raise UnsupportedError."""
    if params["format"] == "circuit":
        from .checking import checked  # noqa: PLC0415

        return checked(params["source"], params.get("bindings") or {})
    if params["format"] in ("qir", "qsharp"):
        from . import qir  # noqa: PLC0415

        text = params["source"]
        return qir.read(qir.compiled(text) if params["format"] == "qsharp" else text)
    from .qasm import read  # noqa: PLC0415 (the parser loads in a tenth of a second)

    return read(params["source"], params.get("bindings") or {})


def with_readout(circuit: Circuit) -> Circuit:
    """Return a circuit that measures: all of its qubits, if it measures none itself.

    What is measured for later pulses alone is no result.
    """
    if circuit["qubits"] == 0:
        raise UnsupportedError("The program has no qubits.")
    fed = {
        place
        for name, at, size in circuit.get("hidden", ())
        if name.startswith(FED_REGISTER)
        for place in range(at, at + size)
    }
    reads = {op[2][0] for op in flat(circuit["ops"]) if op[0] == "measure"} - fed
    told = {place for _, at, size in circuit["registers"] for place in range(at, at + size)}
    if reads and told:
        return circuit
    start, count = circuit["bits"], circuit["qubits"]
    ops: list[Op] = [["measure", [each], [start + each]] for each in range(count)]
    return circuit | {
        "bits": start + count,
        "registers": [*circuit["registers"], [DEFAULT_REGISTER, start, count]],
        "ops": [*circuit["ops"], *ops],
    }


def prepared(params: dict[str, Any]) -> tuple[Circuit, Noisy]:
    """Return the program's circuit, and what is to run of it.

    `ready` of an earlier `plan` is taken instead of the program.
    """
    circuit, found = json.loads(params["ready"]) if params.get("ready") else _compiled(params)
    return circuit, _noisy(found, params)


def _compiled(params: dict[str, Any]) -> tuple[Circuit, Circuit]:
    """Return the program's circuit, and the same in the gates of its device, if it has one."""
    circuit = with_readout(parsed(params))
    if params.get("device") is None:
        return circuit, stretching.settled(circuit, None)
    found = compiled(
        circuit,
        device(params["device"]),
        params.get("level", "logical"),
        list(params.get("layout") or ()),
        int(params.get("optimisation", 1)),
    )
    return circuit, found


def _noisy(found: Circuit, params: dict[str, Any]) -> Noisy:
    if params.get("device") is None or params.get("fidelity") == "ideal":
        return ideal(found)
    return twin(found, device(params["device"]), float(params.get("pessimism", 1.0)))


def _ready(circuit: Circuit, found: Circuit) -> str:
    """Return both as a text for a later run, or nothing if that is too long to be worth it."""
    if len(circuit["ops"]) + len(found["ops"]) > READY_OPERATIONS_MAX:
        return ""
    return json.dumps([circuit, found])


def plan(params: dict[str, Any]) -> dict[str, Any]:
    """Return what a run would be, without running it; `ready` spares the run what was done here."""
    circuit, compiled_circuit = (
        json.loads(params["ready"]) if params.get("ready") else _compiled(params)
    )
    noisy = _noisy(compiled_circuit, params)
    choice = _told(_chosen(noisy, params))
    found = noisy.circuit
    one, two, reads = _gate_counts(found["ops"])
    return {
        "qubits": found["qubits"],
        "bits": found["bits"],
        "program_qubits": circuit["qubits"],
        "one_qubit_gates": one,
        "two_qubit_gates": two,
        "measurements": reads,
        "depth": _depth(found),
        "fidelity": noisy.fidelity,
        "engine": choice.engine,
        "reason": choice.reason,
        "bytes_needed": choice.bytes_needed,
        "layout": found.get("labels", []),
        "ready": params.get("ready") or _ready(circuit, compiled_circuit),
    }


def _gate_counts(ops: list[Op]) -> list[int]:
    """Count gates on one qubit that take time, gates on more, and measurements.

    Of two branches, that with more of each counts: which one is taken is not known before. Loops
    that measured bits end count once.
    """
    counts = [0, 0, 0]
    for name, qubits, params in ops:
        if name in BLOCKS:
            branches = zip(_gate_counts(params[1]), _gate_counts(params[2]), strict=True)
            counts = [sum(each) for each in zip(counts, map(max, branches), strict=True)]
        elif name == "measure":
            counts[2] += 1
        elif name in _known_gates() and not is_virtual(name, params):
            counts[0 if len(qubits) == 1 else 1] += 1
    return counts


def _known_gates() -> frozenset[str]:
    from .ir import ARITY  # noqa: PLC0415

    return frozenset(ARITY)


def _depth(circuit: Circuit) -> int:
    return max(_levels(circuit["ops"], [0] * circuit["qubits"], [0] * circuit["bits"]), default=0)


def _levels(ops: list[Op], level: list[int], known: list[int]) -> list[int]:
    """Return after how many gates each qubit is free, by the deeper of two branches.

    `known` is after how many gates each bit is known; it is changed.
    """
    for name, qubits, params in ops:
        if name in BLOCKS:
            asked = (known[bit] for bit in bits_of(params[0]))
            begin = max((*(level[each] for each in qubits), *asked), default=0)
            start = [begin if place in qubits else each for place, each in enumerate(level)]
            branches = (_levels(each, list(start), known) for each in params[1:3])
            level = [max(ends) for ends in zip(*branches, strict=True)]
        elif name == "measure":
            known[params[0]] = max(known[params[0]], level[qubits[0]])
        elif name == "set":
            known[params[0]] = max((known[bit] for bit in bits_of(params[1])), default=0)
        elif name in _known_gates():
            depth = 1 + max(level[each] for each in qubits)
            for each in qubits:
                level[each] = depth
    return level


def _chosen(noisy: Noisy, params: dict[str, Any]) -> list[tuple[Part, routing.Choice]]:
    """Return the parts that a circuit runs in, and the engine of each; one that is asked for has
    the whole."""
    whole = [Part(noisy, tuple(range(noisy.circuit["bits"])))]
    found = whole if params.get("engine") else parts(noisy)
    return [(each, _choose(each.noisy, params)) for each in found]


def _told(chosen: list[tuple[Part, routing.Choice]]) -> routing.Choice:
    """Return the engine of the largest part, and what is said of the others."""
    first = chosen[0][1]
    if len(chosen) == 1:
        return first
    qubits = sum(part.noisy.circuit["qubits"] for part, _ in chosen[1:])
    engines = ", ".join(sorted({choice.engine for _, choice in chosen[1:]}))
    reason = f"{first.reason} No gate joins {qubits} others to them; those run apart: {engines}."
    return first._replace(reason=reason, bytes_needed=max(c.bytes_needed for _, c in chosen))


def _choose(noisy: Noisy, params: dict[str, Any]) -> routing.Choice:
    return routing.choose(
        noisy,
        routing.installed_engines(),
        int(params["memory_bytes"]),
        params.get("engine") or "",
        int(params.get("shots", 1000)),
    )


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Return counts, and how they came about."""
    circuit, noisy = prepared(params)
    chosen = _chosen(noisy, params)
    choice = _told(chosen)
    shots, seed = int(params["shots"]), int(params["seed"])
    bits = _all_sampled(noisy, chosen, shots, seed, int(params.get("threads", 1)))
    if not is_dynamic(noisy.circuit):  # such a one has read wrongly already when it decided
        bits = _read(bits, noisy, seed)
    found, told = noisy.circuit, _told_bits(noisy.circuit)
    bits = bits if told is None else bits[:, told]
    result: dict[str, Any] = {
        "counts": counts_of(bits),
        "registers": _numbered(found["registers"]),
        "measured": _kept(measured(circuit), _told_bits(circuit)),
        "engine": choice.engine,
        "reason": choice.reason,
        "compiled": emitting.openqasm3(_without_noise(found)),
        "layout": found.get("labels", []),
        "fidelity": noisy.fidelity,
        "versions": versions(choice.engine),
        "pragmas": circuit.get("pragmas", []),
        "gates": _gate_counts(found["ops"]),
    }
    if params.get("memory"):
        result["memory"] = [text_of(row) for row in bits]
    return result


def _told_bits(circuit: Circuit) -> list[int] | None:
    """Return the bits that are told, in the order of their registers; None for all."""
    if not circuit.get("hidden"):
        return None
    return [p for _, start, size in circuit["registers"] for p in range(start, start + size)]


def _kept(found: list[int], told: list[int] | None) -> list[int]:
    return found if told is None else [found[each] for each in told]


def _numbered(registers: list[Any]) -> list[Any]:
    """Return registers that follow on each other."""
    found, start = [], 0
    for name, _, size in registers:
        found.append([name, start, size])
        start += size
    return found


def _without_noise(circuit: Circuit) -> Circuit:
    return circuit | {"ops": _operations(circuit["ops"])}


def _operations(ops: list[Op]) -> list[Op]:
    return [
        decided(op, _operations(op[2][1]), _operations(op[2][2])) if op[0] in BLOCKS else op
        for op in ops
        if op[0] not in CHANNELS
    ]


def _all_sampled(
    noisy: Noisy, chosen: list[tuple[Part, routing.Choice]], shots: int, seed: int, threads: int
) -> Any:
    """Return the bits of every shot, of all parts together; each part draws from its own seed."""
    import numpy as np  # noqa: PLC0415

    if len(chosen) == 1:
        return _sampled(noisy, chosen[0][1], shots, seed, threads)
    found = np.zeros((shots, noisy.circuit["bits"]), dtype=bool)
    for number, (part, choice) in enumerate(chosen):
        own = int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 2)
        found[:, part.bits] = _sampled(part.noisy, choice, shots, own, threads)
    return found


def _sampled(noisy: Noisy, choice: routing.Choice, shots: int, seed: int, threads: int) -> Any:
    if choice.engine == "stim":
        from . import stim_engine  # noqa: PLC0415 (each engine only where it runs)

        return stim_engine.sample(noisy, shots, seed)
    if choice.engine == "qsim":
        from . import qsim_engine  # noqa: PLC0415

        return qsim_engine.sample(noisy, shots, seed, threads)
    from . import aer_engine  # noqa: PLC0415

    return aer_engine.sample(noisy, shots, seed, choice.engine, choice.order, threads)


def _read(bits: Any, noisy: Noisy, seed: int) -> Any:
    """Return bits as a device reads them: each flips by its own chance."""
    import numpy as np  # noqa: PLC0415

    if not any(low or high for low, high in noisy.reads):
        return bits
    generator = np.random.default_rng([seed, 1])
    wrong = np.array(noisy.reads)
    chance = np.where(bits, wrong[:, 1], wrong[:, 0])
    return bits ^ (generator.random(bits.shape) < chance)


def versions(engine: str) -> dict[str, str]:
    """Return the versions of what took part."""
    return dict(_versions(engine))


@functools.cache
def _versions(engine: str) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    names = ["openqasm3", "qiskit"]
    names += {"stim": ["stim"], "qsim": ["qsimcirq", "cirq-core"]}.get(engine, ["qiskit-aer"])
    found = {"python": sys.version.split()[0]}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
