"""A quantum resource in a directory of its own, and circuits that tests share."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from skerry.kernel.clock import SystemClock
from skerry.kernel.keys import Keys
from skerry.kernel.kind import Context
from skerry.kernel.names import ResourceRef
from skerry.kinds.quantum.config import QuantumConfig
from skerry.kinds.quantum.engine import QuantumEngine

RESOURCE_ID = "00000000deadbeef"


class Tally:
    """A meter that a test can read."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, unit: str, amount: int = 1) -> None:
        self.counts[unit] += amount


class Awake:
    """A host whose engines are all awake; it keeps what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.endpoint = ""

    async def ready(self, resource: str) -> str:
        return self.endpoint

    async def bind(self, resource: str) -> object:
        raise NotImplementedError

    def progress(self, done: int, total: int, text: str) -> None:
        self.said.append(text)


MakeContext = Callable[..., Context]


@pytest.fixture
def make_context(tmp_path: Path) -> MakeContext:
    def make(resource_id: str = RESOURCE_ID, **settings: object) -> Context:
        for name in ("state", "run"):
            (tmp_path / name).mkdir(exist_ok=True)
        return Context(
            ref=ResourceRef("app", "main", "quantum", "qpu"),
            id=resource_id,
            directory=tmp_path / "state",
            run=tmp_path / "run",
            code=tmp_path,
            config=QuantumConfig(**settings),  # type: ignore[arg-type]
            keys=Keys(b"own", b"lineage"),
            meter=Tally(),
            clock=SystemClock(),
            host=Awake(),
        )

    return make


@pytest.fixture
async def engine(make_context: MakeContext) -> AsyncIterator[QuantumEngine]:
    made = QuantumEngine(make_context())
    await made.start()
    yield made
    await made.stop()


def ghz(qubits: int) -> str:
    """Return a circuit that entangles all qubits of a chain."""
    return (
        f'OPENQASM 3.0; include "stdgates.inc"; qubit[{qubits}] q; bit[{qubits}] c; h q[0];'
        f"for int i in [0:{qubits - 2}] {{ cx q[i], q[i + 1]; }} c = measure q;"
    )


def slow(qubits: int = 12) -> str:
    """Return a circuit that takes seconds on a noisy twin: no gate is Clifford."""
    layers = "".join(
        f"ry(0.{i + 3}) q; for int i in [0:{qubits - 2}] {{ cz q[i], q[i + 1]; }}" for i in range(7)
    )
    return (
        f'OPENQASM 3.0; include "stdgates.inc"; qubit[{qubits}] q; bit[{qubits}] c;'
        f"{layers} c = measure q;"
    )
