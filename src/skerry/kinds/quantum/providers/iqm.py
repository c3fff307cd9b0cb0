"""IQM's machines by IQM Server's API, as Resonance and a machine in one's own house speak it.

The circuit goes in native gates on physical qubits, with one measurement for every bit.
"""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import quote

from skerry.kinds.quantum.catalogue.model import Device
from skerry.kinds.quantum.contract import JobState
from skerry.kinds.quantum.providers.interface import Provider, Seen, Task
from skerry.kinds.quantum.providers.reading import counted, name_in, state_of

TOKEN = "IQM_TOKEN"  # noqa: S105 (the name of a secret)
_STATES = {
    "waiting": JobState.QUEUED,
    "received": JobState.QUEUED,
    "validating": JobState.QUEUED,
    "compiling": JobState.QUEUED,
    "queued": JobState.QUEUED,
    "processing": JobState.RUNNING,
    "running": JobState.RUNNING,
    "completed": JobState.COMPLETED,
    "failed": JobState.FAILED,
    "cancelled": JobState.CANCELLED,
}


class IQM(Provider):
    """IQM Resonance, or an IQM Server."""

    name: ClassVar[str] = "iqm"
    base: ClassVar[str] = "https://resonance.iqm.tech"
    secrets: ClassVar[tuple[str, ...]] = (TOKEN,)

    def headers(self) -> dict[str, str]:
        """See `Provider.headers`."""
        return {"Authorization": f"Bearer {self.secret(TOKEN)}"}

    def has(self, device: Device) -> bool:
        """See `Provider.has`."""
        return device.vendor == "IQM" and "prx" in device.native_gates

    async def send(self, task: Task) -> str:
        """See `Provider.send`."""
        circuit = {"name": task.token, "instructions": _instructions(task.compiled)}
        body = {"circuits": [circuit], "shots": task.shots}
        machine = task.device.id.removeprefix("iqm-")
        answer = await self.ask("POST", f"/api/v1/jobs/{machine}/circuit", body)
        return name_in(answer.json(), "id", "IQM")

    async def look(self, vendor_job: str, task: Task) -> Seen:
        """See `Provider.look`."""
        path = f"/api/v1/jobs/{quote(vendor_job, safe='')}"
        found = (await self.ask("GET", path)).json()
        state = state_of(_STATES, found.get("status"), "IQM")
        if state is not JobState.COMPLETED:
            ahead = found.get("queue_position")
            errors = "; ".join(str(each.get("message")) for each in found.get("errors") or ())
            return Seen(state, ahead + 1 if isinstance(ahead, int) else None, reason=errors)
        shots = (await self.ask("GET", f"{path}/artifacts/measurements")).any()[0]
        bits = task.circuit["bits"]
        columns = [_column(shots, bit) for bit in range(bits)]
        places = [bit if column else -1 for bit, column in enumerate(columns)]
        length = max((len(column) for column in columns), default=0)
        full = [column or [0] * length for column in columns]
        return Seen(state, counts=counted(zip(*full, strict=True), places))

    async def cancel(self, vendor_job: str, task: Task) -> None:
        """See `Provider.cancel`."""
        await self.ask("POST", f"/api/v1/jobs/{quote(vendor_job, safe='')}/cancel")


def _key(bit: int) -> str:
    return f"bit{bit}"


def _column(shots: dict[str, list[list[int]]], bit: int) -> list[int]:
    """Return a bit's value in every shot; nothing for a bit that is not measured."""
    return [row[0] for row in shots.get(_key(bit), ())]


def _instructions(compiled: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a compiled circuit in IQM's JSON; a bit that is measured twice keeps the last."""
    labels = compiled["labels"]
    last = {op[2][0]: place for place, op in enumerate(compiled["ops"]) if op[0] == "measure"}
    found: list[dict[str, Any]] = []
    for place, (name, qubits, params) in enumerate(compiled["ops"]):
        args: dict[str, Any] = {}
        if name == "prx":
            args = {"angle": params[0], "phase": params[1]}
        elif name == "measure":
            if last[params[0]] != place:
                continue
            args = {"key": _key(params[0])}
        elif name == "delay":
            args = {"duration": params[0]}
        locus = [f"QB{labels[each]}" for each in qubits]
        found.append({"name": name, "locus": locus, "args": args})
    return found
