"""A resource whose providers lead to vendors in miniature, and whose programs need no worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import pytest

from skerry.kernel.errors import DENIED
from skerry.kernel.policy import Decision, Place
from skerry.kinds.quantum import checks
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.contract import Budget, Job, JobRequest, Program
from skerry.kinds.quantum.desk import Plan
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.providers.interface import Dialect
from skerry.kinds.quantum.tests.conftest import MakeContext, Tally
from skerry.kinds.quantum.tests.providers import vendors

SECRETS = {
    "IONQ_API_KEY": "key",
    "PASQAL_USERNAME": "somebody",
    "PASQAL_PASSWORD": "word",
    "PASQAL_PROJECT_ID": "project",
    "QUANDELA_TOKEN": "token",
    "IBM_API_KEY": "key",
    "IBM_INSTANCE_CRN": "crn:v1:bluemix:public:quantum-computing:us-east:a/x:y::",
    "SCALEWAY_SECRET_KEY": "key",
    "SCALEWAY_PROJECT_ID": "project",
    "AZURE_TENANT_ID": "tenant",
    "AZURE_CLIENT_ID": "client",
    "AZURE_CLIENT_SECRET": "hidden",
    "AZURE_QUANTUM_WORKSPACE": "/subscriptions/s/resourceGroups/g/w",
    "AZURE_QUANTUM_LOCATION": "eastus",
}
CIRCUIT: dict[str, Any] = {
    "qubits": 2,
    "bits": 2,
    "registers": [["c", 0, 2]],
    "labels": ["0", "1"],
    "ops": [
        ["gpi", [0], [0.0]],
        ["zz", [0, 1], [0.25]],
        ["measure", [0], [0]],
        ["measure", [1], [1]],
    ],
}
V = TypeVar("V", bound=vendors.Vendor)


class Gate:
    """The decision point: it allows everything, or nothing."""

    open = True

    async def permit(self, action: str, place: Place, *, encrypted: bool = False) -> Decision:
        """See `Permit`."""
        if not self.open:
            raise DENIED("The rule `eu-only` forbids it.", why="The machine stands in US.")
        return Decision(True, "test", "allowed")


@pytest.fixture
def vendor() -> Iterator[Callable[[type[V]], V]]:
    made: list[vendors.Vendor] = []

    def make(kind: type[V]) -> V:
        found = kind()
        made.append(found)
        return found

    yield make
    for each in made:
        each.close()


@dataclass
class Lab:
    """One resource, and what it sends to whom."""

    engine: QuantumEngine
    gate: Gate
    make: Callable[[], QuantumEngine]

    @property
    def tally(self) -> Tally:
        return cast(Tally, self.engine.context.meter)

    async def submit(self, device: str, provider: str, **more: Any) -> Job:
        program = Program("[]", more.pop("format", "circuit"))
        shape = {"shots": 100, "budget": Budget("100", "EUR"), "provider": provider, **more}
        return await self.engine.desk.submit(JobRequest(device, (program,), **shape))

    async def over(self, job: Job) -> Job:
        async with asyncio.timeout(20):
            while not (job := await self.engine.desk.wait(job.id, 5.0)).over:
                pass
        return job

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.005)

    async def restart(self) -> None:
        await self.engine.stop()
        self.engine = self.make()
        await self.engine.start()


@pytest.fixture
async def lab(make_context: MakeContext) -> AsyncIterator[Callable[..., Any]]:
    made: list[Lab] = []

    async def open_lab(endpoints: dict[str, str], **settings: Any) -> Lab:
        context = make_context(endpoints=endpoints, **settings)
        gate = Gate()
        context = replace(context, secrets=SECRETS, permit=gate.permit)

        def make() -> QuantumEngine:
            engine = QuantumEngine(context)
            engine.desk.hardware.first_seconds = 0.005
            engine.desk.plan = plan  # type: ignore[method-assign]
            engine.desk.hardware._compile = compiled
            return engine

        found = Lab(make(), gate, make)
        await found.engine.start()
        made.append(found)
        return found

    yield open_lab
    for each in made:
        await each.engine.stop()


async def plan(request: JobRequest, program: int = 0, binding: int = 0) -> Plan:
    """Return a plan that no worker made, of a request that is checked as ever."""
    checks.check(request, load.find(request.device), ())
    return Plan(request.device, 2, 2, 1, 1, 2, 3, 0.9, "test", "test", 0, ("0", "1"))


async def compiled(
    request: JobRequest, dialect: Dialect
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return a circuit that no worker compiled."""
    return CIRCUIT, CIRCUIT, "OPENQASM 2.0;"
