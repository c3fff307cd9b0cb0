"""Stacks: sets of quantum libraries, each in this environment or in one of its own.

`gates` is what `pip install 'skerry[quantum]'` adds. The others cannot all live together, so
`skerry quantum install <stack>` builds an environment for each. A worker runs in the first
environment that has its stack. Those that begin with `clients-` are vendors' own clients: no worker
needs them; they are there to be tried against a node.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from skerry.kernel.errors import EXTRA_MISSING, NOT_FOUND
from skerry.kernel.names import did_you_mean

KIND = "quantum"
COMPLETE = "complete"
"""A file in an environment that was built to its end."""


class Stack(NamedTuple):
    """What a stack is for, the packages that make it, and modules that tell that it is there.

    `python` is the oldest version that its packages take.
    """

    summary: str
    packages: tuple[str, ...]
    modules: tuple[str, ...]
    python: tuple[int, int] = (3, 11)


STACKS = {
    "gates": Stack(
        "circuits: OpenQASM, Qiskit's transpiler, Stim, Aer, qsim, IBM's mitigation",
        (
            "openqasm3[parser]>=1",
            "qiskit>=2.1",
            "qiskit-aer>=0.17",
            "stim>=1.14",
            "qsimcirq>=0.22",
            "samplomatic>=0.21",
            "qiskit-mitigation>=0.1.1",
        ),
        ("openqasm3", "qiskit", "qiskit_aer", "stim"),
    ),
    "gates-gpu": Stack(
        "circuits, with Aer's state vectors on an NVIDIA GPU (goes before `gates`)",
        (
            "openqasm3[parser]>=1",
            "qiskit>=2.1",
            "qiskit-aer-gpu>=0.15; platform_machine == 'x86_64'",
            "stim>=1.14",
            "qsimcirq>=0.22",
            "samplomatic>=0.21",
            "qiskit-mitigation>=0.1.1",
        ),
        ("openqasm3", "qiskit", "qiskit_aer", "stim"),
    ),
    "resources": Stack("resource estimation: Microsoft's qdk", ("qdk>=1.30",), ("qdk",)),
    "atoms": Stack(
        "analog programs of neutral atoms, exact results and named noise: Braket's simulators",
        (
            "amazon-braket-default-simulator>=1.30",
            "amazon-braket-schemas>=1.24",
            "pulser-core>=1.6",
        ),
        ("braket.default_simulator",),
    ),
    "chemistry": Stack(
        "molecules: PySCF and Qiskit Nature",
        ("pyscf>=2.6", "qiskit>=2.1", "qiskit-nature>=0.7.2", "qiskit-algorithms>=0.3"),
        ("pyscf", "qiskit_nature", "qiskit_algorithms"),
    ),
    "clients-braket": Stack(
        "clients: Amazon Braket's SDK, and Qiskit through it",
        ("amazon-braket-sdk>=1.100", "qiskit-braket-provider>=0.11"),
        ("braket.aws", "qiskit_braket_provider"),
    ),
    "clients-pennylane": Stack(
        "clients: PennyLane through Amazon Braket",
        ("amazon-braket-pennylane-plugin>=1.33", "pennylane>=0.45"),
        ("pennylane", "braket.pennylane_plugin"),
    ),
    "clients-iqm": Stack(
        "clients: IQM's, and Qiskit through it", ("iqm-client[qiskit]>=36",), ("iqm.qiskit_iqm",)
    ),
    "clients-scaleway": Stack(
        "clients: Qiskit through Scaleway's provider (Python 3.12 or newer)",
        ("qiskit-scaleway>=0.3.13",),
        ("qiskit_scaleway",),
        (3, 12),
    ),
    "clients-azure": Stack(
        "clients: Azure Quantum's, with Qiskit, Cirq and Q# through it",
        ("azure-quantum[cirq,qiskit]>=3.13",),
        ("azure.quantum", "cirq_ionq", "qsharp"),
    ),
    "clients-aqt-portal": Stack(
        "clients: Qiskit through AQT's provider of version 1, which speaks to the portal",
        ("qiskit-aqt-provider>=1.13,<2",),
        ("qiskit_aqt_provider",),
    ),
    "clients-pasqal": Stack(
        "clients: Pasqal's cloud, and Pulser with its own simulator",
        ("pasqal-cloud>=0.20", "pulser-pasqal>=0.20", "pulser-simulation>=1.6"),
        ("pasqal_cloud", "pulser_simulation"),
    ),
    "clients-quandela": Stack(
        "clients: Perceval, whose library exqalibur is CC BY-NC-ND: not for commercial use",
        ("perceval-quandela>=1.3",),
        ("perceval",),
    ),
    "clients-aqt": Stack(
        "clients: Qiskit through AQT's provider",
        ("qiskit-aqt-provider>=2",),
        ("qiskit_aqt_provider",),
    ),
}


def stack(name: str) -> Stack:
    """Return a stack; raise NOT_FOUND."""
    if name not in STACKS:
        raise NOT_FOUND(f"There is no stack {name[:40]}.", why=did_you_mean(name, STACKS))
    return STACKS[name]


def is_here(name: str) -> bool:
    """Tell whether this process's own environment has a stack."""
    try:
        return all(find_spec(module) is not None for module in STACKS[name].modules)
    except ModuleNotFoundError:
        return False


def folder(environments: Path, name: str) -> Path:
    """Return where the environment of a stack lies."""
    return environments / KIND / name


def python(name: str, environments: Path | None) -> str:
    """Return the interpreter that has a stack; raise EXTRA_MISSING with what adds it."""
    wanted = (f"{name}-gpu", name) if f"{name}-gpu" in STACKS else (name,)
    made = [] if environments is None else [folder(environments, each) for each in wanted]
    ready = [each for each in made if (each / COMPLETE).exists()]
    if ready and ready[0].name != name:
        return str(ready[0] / "bin" / "python")
    if is_here(name):
        return sys.executable
    if ready:
        return str(ready[0] / "bin" / "python")
    extra = "pip install 'skerry[quantum]', or " if name == "gates" else ""
    raise EXTRA_MISSING(
        f"The stack {name} is not installed ({STACKS[name].summary}).",
        hint=f"{extra}skerry quantum install {name}",
    )
