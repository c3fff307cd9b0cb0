"""AQT's machines by its portal Arnica: gates of ions in units of pi, all ions read at the end.

The portal's API, as its own client has it, names no call that cancels a job.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar
from urllib.parse import quote

from skerry.kernel.errors import NOT_FOUND, UNSUPPORTED
from skerry.kinds.quantum.catalogue.model import Device
from skerry.kinds.quantum.contract import JobState
from skerry.kinds.quantum.providers.calling import VendorError, garbled
from skerry.kinds.quantum.providers.interface import Provider, Seen, Task
from skerry.kinds.quantum.providers.reading import bits_of, counted, name_in, state_of, whole

TOKEN = "AQT_TOKEN"  # noqa: S105 (the name of a secret)
VENDOR = "Alpine Quantum Technologies"
_NULL = 1e-12
_STATES = {
    "queued": JobState.QUEUED,
    "ongoing": JobState.RUNNING,
    "finished": JobState.COMPLETED,
    "error": JobState.FAILED,
    "cancelled": JobState.CANCELLED,
}


class AQT(Provider):
    """AQT's portal."""

    name: ClassVar[str] = "aqt"
    base: ClassVar[str] = "https://arnica.aqt.eu/api"
    secrets: ClassVar[tuple[str, ...]] = (TOKEN,)

    def headers(self) -> dict[str, str]:
        """See `Provider.headers`."""
        return {"Authorization": f"Bearer {self.secret(TOKEN)}"}

    def has(self, device: Device) -> bool:
        """See `Provider.has`."""
        return device.vendor == VENDOR

    def check(self, task: Task) -> None:
        """See `Provider.check`."""
        whole(task.compiled, "AQT")

    async def send(self, task: Task) -> str:
        """See `Provider.send`."""
        whole(task.compiled, "AQT")
        operations = [each for op in task.compiled["ops"] for each in _operations(op)]
        circuit = {
            "repetitions": task.shots,
            "quantum_circuit": [*operations, {"operation": "MEASURE"}],
            "number_of_qubits": task.compiled["qubits"],
        }
        body = {
            "job_type": "quantum_circuit",
            "label": task.token,
            "payload": {"circuits": [circuit]},
        }
        workspace, resource = await self._place(task.device)
        found = (await self.ask("POST", f"/v1/submit/{workspace}/{resource}", body)).json()
        return name_in(found.get("job") or {}, "job_id", "AQT")

    async def _place(self, device: Device) -> tuple[str, str]:
        """Return the workspace and the resource that a device is, for whoever has the token."""
        names = {device.id, *device.aliases}
        spaces = (await self.ask("GET", "/v1/workspaces")).any()
        if not isinstance(spaces, list):
            raise garbled("AQT's answer lists no workspaces.")
        for space in spaces:
            for each in space.get("resources", ()):
                if each["id"] in names and each.get("type") != "simulator":
                    return quote(space["id"], safe=""), quote(each["id"], safe="")
        what = f"No workspace of this token at AQT has {device.name}."
        raise VendorError(NOT_FOUND, what, may_have=False, again=False)

    async def look(self, vendor_job: str, task: Task) -> Seen:
        """See `Provider.look`."""
        found = (await self.ask("GET", f"/v1/result/{quote(vendor_job, safe='')}")).json()
        said = found.get("response") or {}
        state = state_of(_STATES, said.get("status"), "AQT")
        if state is not JobState.COMPLETED:
            return Seen(state, reason=str(said.get("message") or ""))
        return Seen(state, counts=counted(said["result"]["0"], bits_of(task.compiled)))

    async def cancel(self, vendor_job: str, task: Task) -> None:
        """See `Provider.cancel`."""
        raise UNSUPPORTED("A job that AQT has cannot be cancelled from here: log in at the portal.")


def _operations(op: list[Any]) -> list[dict[str, Any]]:
    """Return a gate in AQT's JSON, its angles in the ranges that it takes."""
    name, qubits, params = op
    if name == "rz":
        return [_rz(qubits[0], params[0])]
    if name == "r":
        return [_r(qubits[0], *params)]
    if name == "rxx":
        return _rxx(qubits, params[0])
    return []


def _rz(qubit: int, angle: float) -> dict[str, Any]:
    return {"operation": "RZ", "qubit": qubit, "phi": angle / math.pi}


def _r(qubit: int, angle: float, axis: float) -> dict[str, Any]:
    """Return a rotation by 0 to pi: one by more is one by less about the opposite axis."""
    turned = angle % (2 * math.pi)
    if turned > math.pi:
        turned, axis = 2 * math.pi - turned, axis + math.pi
    phi = axis % (2 * math.pi) / math.pi
    return {"operation": "R", "qubit": qubit, "theta": turned / math.pi, "phi": phi}


def _rxx(qubits: list[int], angle: float) -> list[dict[str, Any]]:
    """Return a gate by 0 to pi/2: half a turn is X on both, and Z on one side turns the sign."""
    steps = round(angle / math.pi)
    rest = angle - steps * math.pi
    found: list[dict[str, Any]] = []
    if abs(rest) > _NULL:
        gate = {"operation": "RXX", "qubits": qubits, "theta": abs(rest) / math.pi}
        flip = [_rz(qubits[0], math.pi)] if rest < 0 else []
        found = [*flip, gate, *flip]
    return found + ([_r(each, math.pi, 0.0) for each in qubits] if steps % 2 else [])
