"""What a way to a vendor's machine owes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from skerry.kernel.clock import Clock
from skerry.kernel.errors import DENIED, UNSUPPORTED
from skerry.kernel.policy import Place
from skerry.kinds.quantum.catalogue.model import Device, Paradigm
from skerry.kinds.quantum.contract import JobState
from skerry.kinds.quantum.providers.calling import Answer, call

Dialect = Literal["", "braket", "openqasm2", "openqasm3", "native2", "native3"]
"""What a provider wants a program's text in: its circuit, or as compiled (`native…`)."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a provider is given: the time, the resource's secrets, and other addresses if any."""

    clock: Clock
    secrets: Mapping[str, str] = field(repr=False)
    endpoints: Mapping[str, str] = field(default_factory=dict)


class Task(NamedTuple):
    """One execution to send: the circuit as it was written, and compiled for the machine.

    `text` is the program in the provider's dialect; `source` as it came, which is all that there is
    of programs that are no circuits, with the values of their parameters in `bindings`. `booking`
    is the vendor's own name of a session or reservation to run in, `seconds_max` the time on the
    machine that the ceiling pays for (0 for any).
    """

    token: str
    name: str
    device: Device
    shots: int
    circuit: dict[str, Any]
    compiled: dict[str, Any]
    text: str
    source: str = ""
    booking: str = ""
    seconds_max: int = 0
    bindings: Mapping[str, float] = {}


class Charge(NamedTuple):
    """What a vendor says that a job cost, in micro-units of a currency."""

    currency: str
    micro: int


class Seen(NamedTuple):
    """How a vendor's job stands: its state, its place in the vendor's queue, its outcome.

    `counts` may come with a state other than COMPLETED: a part of the shots was taken. `seconds` is
    the time on the machine that the vendor counts.
    """

    state: JobState
    position: int | None = None
    counts: dict[str, int] | None = None
    reason: str = ""
    seconds: float | None = None
    charge: Charge | None = None


class Provider(ABC):
    """A way to some machines.

    `idempotent` tells that sending a task twice makes one job of the vendor; `searches` that a job
    of the vendor can be found by its task's token. `booked` says what a booking is there, nothing
    where there is none. `channel` is what the vendor's prices are called in the catalogue.
    """

    name: ClassVar[str]
    base: ClassVar[str]
    secrets: ClassVar[tuple[str, ...]]
    dialect: ClassVar[Dialect] = ""
    paradigms: ClassVar[frozenset[Paradigm]] = frozenset({Paradigm.GATE})
    idempotent: ClassVar[bool] = False
    searches: ClassVar[bool] = False
    booked: ClassVar[str] = ""
    channel: ClassVar[str] = ""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def secret(self, name: str) -> str:
        """Return a credential; raise DENIED with the command that sets it."""
        found = self.setting.secrets.get(name, "")
        if not found:
            raise DENIED(
                f"The way by {self.name} needs the secret {name}.",
                why="It is not set, or not among the resource's `secrets` in skerry.toml, or the "
                "resource was awake when it was set: skerry deploy.",
                hint=f"skerry secret set {name}",
            )
        return found

    def address(self, name: str = "", usual: str = "") -> str:
        """Return where an API of the vendor is, or where the resource says that it is instead."""
        return self.setting.endpoints.get(name or self.name, usual or self.base).rstrip("/")

    def headers(self) -> Mapping[str, str]:
        """Return the headers that every request carries."""
        return {}

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the vendor's answer to a request below its address, with a body of JSON."""
        data = None if body is None else msgspec.json.encode(body)
        kind = {"Content-Type": "application/json"} if data is not None else {}
        own = self.headers() if headers is None else headers
        fields = {"Accept": "application/json", **kind, **own}
        return await call(method, f"{self.address()}{path}", fields, data)

    def places(self, device: Device) -> tuple[Place, ...]:
        """Return where a job for a device would go: the vendor's endpoint, then the machine.

        The two may lie in different countries. Raises UNSUPPORTED if it cannot go this way.
        """
        if device.paradigm not in self.paradigms or not self.has(device):
            raise UNSUPPORTED(f"{device.name} cannot be reached by {self.name}.")
        host = urlsplit(self.address()).hostname or ""
        return Place(self.name, host=host), Place(device.vendor.lower(), country=device.country)

    @abstractmethod
    def has(self, device: Device) -> bool:
        """Tell whether the vendor offers a device, as far as the catalogue knows."""

    def dialect_of(self, device: Device) -> Dialect:
        """Return what a program for a device is written in."""
        return self.dialect

    def check(self, task: Task) -> None:
        """Raise UNSUPPORTED for a program that cannot go this way, before anything is kept."""

    def seconds(self, shots: int, shot_seconds: float | None) -> float:
        """Estimate the time on the machine that is counted, from that of one shot; 0 if unknown."""
        return shots * (shot_seconds or 0.0)

    @abstractmethod
    async def send(self, task: Task) -> str:
        """Send a task; return the vendor's name of the job."""

    async def search(self, task: Task) -> str | None:
        """Return the vendor's name of the job that a task became, if the vendor has it."""
        raise UNSUPPORTED(f"Jobs cannot be searched for at {self.name}.")

    @abstractmethod
    async def look(self, vendor_job: str, task: Task) -> Seen:
        """Return how a job stands, with its outcome once it is over."""

    @abstractmethod
    async def cancel(self, vendor_job: str, task: Task) -> None:
        """Ask the vendor to cancel a job; raise UNSUPPORTED if it cannot."""


def alias(device: Device, prefix: str) -> str:
    """Return the vendor's name of a device that begins so, or nothing."""
    return next((each for each in device.aliases if each.startswith(prefix)), "")
