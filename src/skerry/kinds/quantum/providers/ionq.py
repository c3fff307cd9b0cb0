"""IonQ's machines by its API v0.4, with programs in its native gates.

Debiasing is switched off, so that what comes is what was measured, at the price that was shown.
"""

from __future__ import annotations

from typing import Any, ClassVar

from skerry.kinds.quantum.catalogue.model import Device
from skerry.kinds.quantum.contract import JobState
from skerry.kinds.quantum.providers.interface import Provider, Seen, Task
from skerry.kinds.quantum.providers.reading import bits_of, name_in, reordered, state_of, whole

SECRET = "IONQ_API_KEY"  # noqa: S105 (the name of a secret)
_STATES = {
    "submitted": JobState.QUEUED,
    "ready": JobState.QUEUED,
    "started": JobState.RUNNING,
    "running": JobState.RUNNING,
    "completed": JobState.COMPLETED,
    "failed": JobState.FAILED,
    "canceled": JobState.CANCELLED,
}


class IonQ(Provider):
    """IonQ itself."""

    name: ClassVar[str] = "ionq"
    base: ClassVar[str] = "https://api.ionq.co/v0.4"
    secrets: ClassVar[tuple[str, ...]] = (SECRET,)
    booked: ClassVar[str] = "a session's id"

    def headers(self) -> dict[str, str]:
        """See `Provider.headers`."""
        return {"Authorization": f"apiKey {self.secret(SECRET)}"}

    def has(self, device: Device) -> bool:
        """See `Provider.has`."""
        return device.vendor == "IonQ"

    def check(self, task: Task) -> None:
        """See `Provider.check`."""
        native_input(task)

    async def send(self, task: Task) -> str:
        """See `Provider.send`."""
        body: dict[str, Any] = {
            "type": "ionq.circuit.v1",
            "backend": f"qpu.{task.device.id.removeprefix('ionq-')}",
            "shots": task.shots,
            "name": task.name or task.token,
            "metadata": {"token": task.token},
            "input": native_input(task),
            "settings": {"error_mitigation": {"debiasing": False}},
        }
        if task.booking:
            body["session_id"] = task.booking
        return name_in((await self.ask("POST", "/jobs", body)).json(), "id", "IonQ")

    async def look(self, vendor_job: str, task: Task) -> Seen:
        """See `Provider.look`."""
        found = (await self.ask("GET", f"/jobs/{vendor_job}")).json()
        state = state_of(_STATES, found.get("status"), "IonQ")
        if state is not JobState.COMPLETED:
            return Seen(state, reason=str(found.get("failure") or ""))
        chances = (await self.ask("GET", f"/jobs/{vendor_job}/results/probabilities")).json()
        return Seen(state, counts=counts_of(chances, task))

    async def cancel(self, vendor_job: str, task: Task) -> None:
        """See `Provider.cancel`."""
        await self.ask("PUT", f"/jobs/{vendor_job}/status/cancel")


_GATES = frozenset({"gpi", "gpi2", "ms", "zz"})


def native_input(task: Task) -> dict[str, Any]:
    """Return a compiled circuit in IonQ's JSON; raise UNSUPPORTED if it goes on after reading."""
    whole(task.compiled, "IonQ")
    return {
        "gateset": "native",
        "qubits": task.compiled["qubits"],
        "circuit": [_gate(op) for op in task.compiled["ops"] if op[0] in _GATES],
    }


def _gate(op: list[Any]) -> dict[str, Any]:
    name, qubits, params = op
    if name == "ms":
        return {"gate": name, "targets": qubits, "phases": params[:2], "angle": params[2]}
    if name == "zz":
        return {"gate": name, "targets": qubits, "angle": params[0]}
    return {"gate": name, "target": qubits[0], "phase": params[0]}


def counts_of(chances: dict[str, Any], task: Task) -> dict[str, int]:
    """Return counts of the program's bits from chances of the qubits' numbers."""
    width = task.compiled["qubits"]
    words = {format(int(key), f"0{width}b")[::-1]: value for key, value in chances.items()}
    return reordered(words, bits_of(task.compiled), task.shots)
