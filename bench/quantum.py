"""Quantum jobs from end to end, beside calling the same engines directly."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

from harness import Options, Report, Table, clock, interleave, median, say, scratch, times

from node import Node, node
from skerry.kinds._shared.http.request import request
from skerry.kinds.quantum import twins
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.worker import emitting, routing, running
from skerry.kinds.quantum.worker.compiling import to_qiskit
from skerry.kinds.quantum.worker.ir import UnsupportedError

TOML = '[app]\nname = "bench"\n[quantum.qpu]\nidle = "1h"\n'
AIM_MS = 20.0
WORST = 1.2
SHOTS = 1000
LAYERS = 10
BRAKET_MOST = 20
"""Braket's simulator takes half a minute for two qubits more."""

LARGE = 24
"""Of so many qubits on two rounds are enough: Aer takes a quarter of a minute for each."""


def ghz(qubits: int) -> str:
    """Return a circuit that entangles a chain."""
    return (
        f'OPENQASM 3.0; include "stdgates.inc"; qubit[{qubits}] q; bit[{qubits}] c; h q[0];'
        f"for int i in [0:{qubits - 2}] {{ cx q[i], q[i + 1]; }} c = measure q;"
    )


def brick(qubits: int, layers: int) -> str:
    """Return layers of rotations and of gates between neighbours: nothing is Clifford."""
    body = "".join(
        f"rz(0.{n + 1}) q; ry(0.{n + 2}) q; for int i in [0:{(qubits - 2 - n % 2) // 2}] "
        f"{{ cz q[2 * i + {n % 2}], q[2 * i + {n % 2 + 1}]; }}"
        for n in range(layers)
    )
    return (
        f'OPENQASM 3.0; include "stdgates.inc"; qubit[{qubits}] q; bit[{qubits}] c;'
        f"{body} c = measure q;"
    )


class Client:
    """Sends jobs to a node over HTTP and waits for them."""

    def __init__(self, running_node: Node) -> None:
        running_node.deploy({"skerry.toml": TOML})
        fields = running_node.connect("qpu", "bench")
        self._base = f"{fields['url']}/quantum/v1"
        self._headers = {"Authorization": f"Bearer {fields['token']}"}

    def _call(self, path: str, method: str = "GET", body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        answer = request(f"{self._base}{path}", method, data, self._headers)
        assert answer.status in (200, 201), answer.body
        return json.loads(answer.body)

    def run(self, source: str, device: str) -> dict[str, float]:
        """Run a program; return seconds from the request to the result, and those of the engine."""
        began = clock()
        job = {"device": device, "programs": [{"source": source}], "shots": SHOTS}
        made = self._call("/jobs", "POST", job)
        found = self._call(f"/jobs/{made['id']}?wait=60")
        assert found["state"] == "COMPLETED", found
        result = self._call(f"/jobs/{made['id']}/results/0")
        total = clock() - began
        assert sum(result["counts"].values()) == SHOTS
        return {"total": total, "engine": result["provenance"]["seconds"]}


def measure(options: Options) -> Report:
    """Measure end-to-end time, state vectors and noise beside peers, and the router's choices."""
    warnings.simplefilter("ignore")
    report = Report(
        f"A job over HTTP, from the request to the result in hand ({SHOTS} shots): parsed, "
        "compiled for the device, estimated, written to the disk, queued, run in a warm worker, "
        "written again, fetched. `overhead` is what is not the worker's own run; each program is "
        "new to the node, but in `total again`, where its compiled form is kept from before. Peers "
        "are called in this process with their libraries loaded and the circuit built."
    )
    rounds = options.pick(2, 5, 9)
    with scratch("quantum") as place, node(place / "home") as running_node:
        client = Client(running_node)
        report.tables.append(end_to_end(client, rounds, report))
        report.tables.append(peers(client, options, rounds, report))
    report.tables.append(choices(options, report))
    return report


def end_to_end(client: Client, rounds: int, report: Report) -> Table:
    """Measure small jobs, where the way there is all that counts."""
    head = ("job", "total ms", "engine ms", "overhead ms", "total again ms")
    table = Table(head, title="Small jobs")
    for name, source, device in (
        ("Bell, ideal", ghz(2), "sim-ideal"),
        ("GHZ 5, twin of iqm-garnet", ghz(5), "iqm-garnet"),
        ("GHZ 5, twin of quantinuum-h2-1", ghz(5), "quantinuum-h2-1"),
    ):
        say(name)
        client.run(source, device)
        found = [client.run(f"{source} // {n}", device) for n in range(rounds * 4)]
        again = [client.run(source, device)["total"] * 1e3 for _ in range(rounds * 4)]
        total, engine = (median(each[key] for each in found) * 1e3 for key in ("total", "engine"))
        over = median((each["total"] - each["engine"]) * 1e3 for each in found)
        table.add(name, total, engine, over, median(again))
        report.data[name] = found
    report.notes.append(f"Aim for the overhead: under {AIM_MS:g} ms.")
    return table


def peers(client: Client, options: Options, rounds: int, report: Report) -> Table:
    """Measure jobs that compute, beside their engines called directly."""
    table = Table(("job", "ours s", "peer", "peer s", "ours / peer"), title="Beside other engines")
    for qubits in options.pick((16,), (20, 22, 24)):
        source = brick(qubits, LAYERS)
        name = f"{qubits} qubits, {LAYERS} layers, ideal"
        ways = {"qsim": qsim(qubits, LAYERS), "Aer, statevector": aer(source)}
        if qubits <= BRAKET_MOST:
            ways["Braket default simulator"] = braket(source)
        often = rounds if qubits < LARGE else min(rounds, 2)
        compare(client, name, source, "sim-ideal", ways, often, table, report)
    noisy = ghz(16)
    ways = {"qsim trajectories": noisy_on("qsim", noisy)}
    if not options.quick:
        ways["Aer, statevector trajectories"] = noisy_on("statevector", noisy)
    compare(client, "noisy GHZ 16, iqm-garnet", noisy, "iqm-garnet", ways, 1, table, report)
    return table


def compare(
    client: Client,
    name: str,
    source: str,
    device: str,
    ways: dict[str, Callable[[], Any]],
    rounds: int,
    table: Table,
    report: Report,
) -> None:
    """Measure ours and some peers in turn, and add a row for each peer."""
    say(name)
    client.run(source, device)
    found = interleave(
        {
            "ours": lambda: client.run(source, device)["total"],
            **{peer: timed(way) for peer, way in ways.items()},
        },
        rounds,
    )
    ours = median(found["ours"])
    for peer in ways:
        theirs = median(found[peer])
        table.add(name, ours, peer, theirs, times(ours, theirs))
    if not ways:
        table.add(name, ours, "-", "-", "-")
    report.data[name] = found


def timed(way: Callable[[], Any]) -> Callable[[], float]:
    """Return a way that tells how long it took."""

    def run() -> float:
        began = clock()
        way()
        return clock() - began

    return run


def circuit_of(source: str) -> Any:
    """Return a program as a circuit that measures."""
    return running.with_readout(running.parsed({"format": "openqasm3", "source": source}))


def aer(source: str) -> Callable[[], Any]:
    """Return a run of Aer's state vector."""
    from qiskit_aer import AerSimulator  # noqa: PLC0415 (peers load only where they are measured)

    simulator = AerSimulator(method="statevector", max_parallel_threads=1)
    circuit = to_qiskit(circuit_of(source))
    return lambda: simulator.run(circuit, shots=SHOTS).result().get_counts()


def qsim(qubits: int, layers: int) -> Callable[[], Any]:
    """Return a run of qsim, of a circuit that is made for it and is what `brick` writes."""
    import cirq  # noqa: PLC0415
    import qsimcirq  # noqa: PLC0415

    line = cirq.LineQubit.range(qubits)
    circuit = cirq.Circuit()
    for n in range(layers):
        turn, tilt = float(f"0.{n + 1}"), float(f"0.{n + 2}")
        circuit.append(cirq.rz(turn).on_each(*line))
        circuit.append(cirq.ry(tilt).on_each(*line))
        pairs = zip(line[n % 2 :: 2], line[n % 2 + 1 :: 2], strict=False)
        circuit.append(cirq.CZ(*each) for each in pairs)
    circuit.append(cirq.measure(*line))
    options = qsimcirq.QSimOptions(max_fused_gate_size=3, cpu_threads=1)
    simulator = qsimcirq.QSimSimulator(qsim_options=options, seed=1)
    return lambda: simulator.run(circuit, repetitions=SHOTS)


def noisy_on(engine: str, source: str) -> Callable[[], Any]:
    """Return a run of an engine with the noise of the twin, whatever the router would choose."""
    _, noisy = running.prepared(params(source, "iqm-garnet"))
    choice = routing.Choice(engine, "", 0)
    return lambda: running._sampled(noisy, choice, SHOTS, 1, 1)


def braket(source: str) -> Callable[[], Any]:
    """Return a run of Braket's default simulator."""
    from braket.default_simulator import StateVectorSimulator  # noqa: PLC0415
    from braket.ir.openqasm import Program  # noqa: PLC0415

    program = Program(source=emitting.braket(circuit_of(source)))
    simulator = StateVectorSimulator()
    return lambda: simulator.run(program, shots=SHOTS)


def params(source: str, device: str = "") -> dict[str, Any]:
    """Return what a worker is told."""
    found = load.find(device) if device else None
    shape = twins.for_worker(found, load.calibration(found.id)) if found else None
    return {
        "format": "openqasm3",
        "source": source,
        "device": shape,
        "shots": SHOTS,
        "seed": 1,
        "memory_bytes": 8 << 30,
    }


def choices(options: Options, report: Report) -> Table:
    """Measure every engine that can run a circuit, and how the chosen one compares."""
    table = Table(("circuit", "chosen", "s", "best", "s", "chosen / best"), title="The router")
    circuits = [
        ("GHZ 16, garnet", ghz(16), "iqm-garnet"),
        ("brick 4, garnet", brick(4, 6), "iqm-garnet"),
        ("brick 8, garnet", brick(8, 6), "iqm-garnet"),
        ("brick 10, garnet", brick(10, 6), "iqm-garnet"),
        ("brick 12, ideal", brick(12, LAYERS), ""),
        ("brick 20, ideal", brick(20, LAYERS), ""),
        ("brick 24, 2 layers, ideal", brick(24, 2), ""),
    ]
    for name, source, device in circuits[: options.pick(3, 7)]:
        say(name)
        asked = params(source, device)
        _, noisy = running.prepared(asked)
        chosen = running._choose(noisy, asked).engine
        seconds = {}
        for engine in sorted(routing.installed_engines()):
            if engine == "density-matrix" and noisy.circuit["qubits"] > 10:
                continue
            try:
                choice = routing.choose(noisy, routing.installed_engines(), 8 << 30, engine)
            except UnsupportedError:
                continue
            seconds[engine] = _best(noisy, choice)
        best = min(seconds, key=lambda each: seconds[each])
        table.add(
            name,
            chosen,
            seconds[chosen],
            best,
            seconds[best],
            times(seconds[chosen], seconds[best]),
        )
        report.data[f"router {name}"] = seconds
    report.notes.append(f"Aim for the router: never slower than {WORST:g} times the best engine.")
    return table


def _best(noisy: Any, choice: routing.Choice) -> float:
    """Return the best of three runs, the first to load the libraries; one if it takes long."""
    found = []
    for _ in range(3):
        began = clock()
        running._sampled(noisy, choice, SHOTS, 1, 1)
        found.append(clock() - began)
        if found[-1] > 5:
            break
    return min(found)
