"""IonQ's machines by its API v0.4, with programs in its native gates.

Debiasing is switched off, so that what comes is what was measured, at the price that was shown.
"""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec

from skerry.kernel.errors import ENGINE_FAILED, UNSUPPORTED
from skerry.kernel.policy import Place
from skerry.kinds.quantum.catalogue.model import Device
from skerry.kinds.quantum.contract import JobState
from skerry.kinds.quantum.providers.calling import call
from skerry.kinds.quantum.providers.interface import Provider, Seen, Task, bits_of

BASE = "https://api.ionq.co/v0.4"
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
    secrets: ClassVar[tuple[str, ...]] = (SECRET,)

    @property
    def _base(self) -> str:
        return self.setting.endpoints.get(self.name, BASE).rstrip("/")

    @property
    def _headers(self) -> dict[str, str]:
        key = self.secret(SECRET)
        return {"Authorization": f"apiKey {key}", "Content-Type": "application/json"}

    def places(self, device: Device) -> tuple[Place, ...]:
        """See `Provider.places`."""
        if device.vendor != "IonQ":
            raise UNSUPPORTED(f"IonQ has no {device.name}.")
        host = urlsplit(self._base).hostname or ""
        return Place("ionq", host=host), Place("ionq", country=device.country)

    async def send(self, task: Task) -> str:
        """See `Provider.send`."""
        body = {
            "type": "ionq.circuit.v1",
            "backend": f"qpu.{task.device.id.removeprefix('ionq-')}",
            "shots": task.shots,
            "name": task.name or task.token,
            "metadata": {"token": task.token},
            "input": {
                "gateset": "native",
                "qubits": task.compiled["qubits"],
                "circuit": [_gate(op) for op in task.compiled["ops"] if op[0] in _GATES],
            },
            "settings": {"error_mitigation": {"debiasing": False}},
        }
        data = msgspec.json.encode(body)
        answer = await call("POST", f"{self._base}/jobs", self._headers, data)
        found = answer.json().get("id")
        if not isinstance(found, str):
            raise ENGINE_FAILED("IonQ's answer names no job.")
        return found

    async def look(self, vendor_job: str, task: Task) -> Seen:
        """See `Provider.look`."""
        found = (await call("GET", f"{self._base}/jobs/{vendor_job}", self._headers)).json()
        state = _STATES.get(str(found.get("status")))
        if state is None:
            raise ENGINE_FAILED(f"IonQ's state {str(found.get('status'))[:40]} is not known.")
        if state is not JobState.COMPLETED:
            return Seen(state, reason=str(found.get("failure") or ""))
        url = f"{self._base}/jobs/{vendor_job}/results/probabilities"
        chances = (await call("GET", url, self._headers)).json()
        return Seen(state, counts=_counts(chances, task))

    async def cancel(self, vendor_job: str, task: Task) -> None:
        """See `Provider.cancel`."""
        await call("PUT", f"{self._base}/jobs/{vendor_job}/status/cancel", self._headers)


_GATES = frozenset({"gpi", "gpi2", "ms", "zz"})


def _gate(op: list[Any]) -> dict[str, Any]:
    name, qubits, params = op
    if name == "ms":
        return {"gate": name, "targets": qubits, "phases": params[:2], "angle": params[2]}
    if name == "zz":
        return {"gate": name, "targets": qubits, "angle": params[0]}
    return {"gate": name, "target": qubits[0], "phase": params[0]}


def _counts(chances: dict[str, Any], task: Task) -> dict[str, int]:
    """Return counts of the program's bits from chances of the qubits' numbers."""
    places = bits_of(task.compiled)
    counts: dict[str, int] = {}
    for outcome, chance in chances.items():
        word = int(outcome)
        text = "".join(str(word >> place & 1) if place >= 0 else "0" for place in places)
        count = round(float(chance) * task.shots)
        if count:
            counts[text] = counts.get(text, 0) + count
    return counts
