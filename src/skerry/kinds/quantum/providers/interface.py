"""What a way to a vendor's machine owes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from skerry.kernel.clock import Clock
from skerry.kernel.errors import DENIED
from skerry.kernel.policy import Place
from skerry.kinds.quantum.catalogue.model import Device
from skerry.kinds.quantum.contract import JobState


@dataclass(frozen=True, slots=True)
class Setting:
    """What a provider is given: the time, the resource's secrets, and other addresses if any."""

    clock: Clock
    secrets: Mapping[str, str] = field(repr=False)
    endpoints: Mapping[str, str] = field(default_factory=dict)


class Task(NamedTuple):
    """One execution to send: the circuit as it was written, and compiled for the machine."""

    token: str
    name: str
    device: Device
    shots: int
    circuit: dict[str, Any]
    compiled: dict[str, Any]
    braket: str


class Seen(NamedTuple):
    """How a vendor's job stands: its state, its place in the vendor's queue, its outcome."""

    state: JobState
    position: int | None = None
    counts: dict[str, int] | None = None
    reason: str = ""


class Provider(ABC):
    """A way to some machines.

    `idempotent` tells that sending a task twice makes one job of the vendor.
    """

    name: ClassVar[str]
    secrets: ClassVar[tuple[str, ...]]
    idempotent: ClassVar[bool] = False

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def secret(self, name: str) -> str:
        """Return a credential; raise DENIED with the command that sets it."""
        found = self.setting.secrets.get(name, "")
        if not found:
            raise DENIED(
                f"The way by {self.name} needs the secret {name}.",
                why="It is not set, or not among the resource's `secrets` in skerry.toml.",
                hint=f"skerry secret set {name}",
            )
        return found

    @abstractmethod
    def places(self, device: Device) -> tuple[Place, ...]:
        """Return where a job for a device would go: the vendor's endpoint, then the machine.

        The two may lie in different countries. Raises UNSUPPORTED if it cannot go this way.
        """

    @abstractmethod
    async def send(self, task: Task) -> str:
        """Send a task; return the vendor's name of the job."""

    @abstractmethod
    async def look(self, vendor_job: str, task: Task) -> Seen:
        """Return how a job stands, with its outcome once it is over."""

    @abstractmethod
    async def cancel(self, vendor_job: str, task: Task) -> None:
        """Ask the vendor to cancel a job."""


def bits_of(compiled: dict[str, Any]) -> list[int]:
    """Return for every bit of a circuit the qubit that is read into it, or -1."""
    found = [-1] * compiled["bits"]
    for name, qubits, params in compiled["ops"]:
        if name == "measure":
            found[params[0]] = qubits[0]
    return found
