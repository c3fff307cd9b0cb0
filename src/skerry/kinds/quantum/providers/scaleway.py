"""Machines on Scaleway's quantum service: a session on a platform, a model, a job in it.

The session is opened with the job's token as its deduplication id, so that it is found again, and
the job in it by its name; it ends with the job, or by itself when it is idle. A booking is a
session that is open already, and is left open.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

import msgspec

from skerry.kernel.errors import NOT_FOUND
from skerry.kinds.quantum.catalogue.model import Device
from skerry.kinds.quantum.contract import TERMINAL, JobState
from skerry.kinds.quantum.providers.calling import VendorError, call, garbled
from skerry.kinds.quantum.providers.interface import Dialect, Provider, Seen, Task, alias
from skerry.kinds.quantum.providers.reading import name_in, state_of

KEY, PROJECT = "SCALEWAY_SECRET_KEY", "SCALEWAY_PROJECT_ID"
PREFIX = "QPU-"
SESSION_SECONDS, IDLE_SECONDS = 86_400, 3600
_API = "/qaas/v1alpha1"
_QASM3, _ZLIB, _QISKIT = 3, 2, 2
_RESULT_BYTES_MAX = 64 << 20
_STATES = {
    "waiting": JobState.QUEUED,
    "running": JobState.RUNNING,
    "completed": JobState.COMPLETED,
    "cancelling": JobState.CANCELLING,
    "cancelled": JobState.CANCELLED,
    "error": JobState.FAILED,
}


class Scaleway(Provider):
    """Scaleway's Quantum as a Service."""

    name: ClassVar[str] = "scaleway"
    base: ClassVar[str] = "https://api.scaleway.com"
    secrets: ClassVar[tuple[str, ...]] = (KEY, PROJECT)
    dialect: ClassVar[Dialect] = "openqasm3"
    searches: ClassVar[bool] = True
    booked: ClassVar[str] = "a session's id"
    channel: ClassVar[str] = "Scaleway"

    def headers(self) -> dict[str, str]:
        """See `Provider.headers`."""
        return {"X-Auth-Token": self.secret(KEY)}

    def has(self, device: Device) -> bool:
        """See `Provider.has`."""
        return bool(alias(device, PREFIX))

    async def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        return (await self.ask(method, f"{_API}/{path}", body)).json()

    async def _session(self, task: Task) -> str:
        if task.booking:
            return task.booking
        wanted = alias(task.device, PREFIX)
        query = urlencode({"name": wanted})
        found = (await self._ask("GET", f"platforms?{query}")).get("platforms") or []
        platform = next((each["id"] for each in found if each["name"] == wanted), "")
        if not platform:
            what = f"Scaleway offers no platform {wanted} now."
            raise VendorError(NOT_FOUND, what, may_have=False, again=False)
        body = {
            "project_id": self.secret(PROJECT),
            "platform_id": platform,
            "name": task.token,
            "deduplication_id": task.token,
            "max_duration": f"{SESSION_SECONDS}s",
            "max_idle_duration": f"{IDLE_SECONDS}s",
        }
        return name_in(await self._ask("POST", "sessions", body), "id", "Scaleway")

    async def send(self, task: Task) -> str:
        """See `Provider.send`; the name is `session/job`."""
        session = await self._session(task)
        packed = base64.b64encode(zlib.compress(task.text.encode())).decode()
        program = {
            "serialization": packed,
            "serialization_format": _QASM3,
            "compression_format": _ZLIB,
        }
        payload = msgspec.json.encode({"programs": [program]}).decode()
        body = {"project_id": self.secret(PROJECT), "payload": payload}
        model = name_in(await self._ask("POST", "models", body), "id", "Scaleway")
        parameters = msgspec.json.encode({"shots": task.shots}).decode()
        asked = {
            "name": task.token,
            "session_id": session,
            "model_id": model,
            "parameters": parameters,
        }
        job = name_in(await self._ask("POST", "jobs", asked), "id", "Scaleway")
        return f"{session}/{job}"

    async def search(self, task: Task) -> str | None:
        """See `Provider.search`."""
        session = await self._session(task)
        found = await self._ask("GET", f"jobs?{urlencode({'session_id': session})}")
        for each in found.get("jobs") or ():
            if each.get("name") == task.token:
                return f"{session}/{name_in(each, 'id', 'Scaleway')}"
        return None

    async def look(self, vendor_job: str, task: Task) -> Seen:
        """See `Provider.look`."""
        session, _, job = vendor_job.partition("/")
        found = await self._ask("GET", f"jobs/{quote(job, safe='')}")
        state = state_of(_STATES, found.get("status"), "Scaleway")
        counts = await self._counts(job, task) if state is JobState.COMPLETED else None
        if state in TERMINAL and not task.booking:
            await self._leave(session)
        return Seen(state, counts=counts, reason=str(found.get("progress_message") or ""))

    async def _leave(self, session: str) -> None:
        try:
            await self._ask("POST", f"sessions/{quote(session, safe='')}/terminate", {})
        except VendorError:
            return  # It ends by itself when it is idle, and the outcome is worth more.

    async def _counts(self, job: str, task: Task) -> dict[str, int]:
        rows = (await self._ask("GET", f"jobs/{quote(job, safe='')}/results"))["job_results"]
        text = rows[0].get("result")
        if not text:
            text = (await call("GET", rows[0]["url"], {})).body.decode()
        envelope = msgspec.json.decode(text)
        if envelope["serialization_format"] != _QISKIT:
            raise garbled("Scaleway's result is in a format that is not known.")
        packed = envelope["serialization"]
        plain = _unpacked(packed) if envelope["compression_format"] == _ZLIB else packed
        data = msgspec.json.decode(plain)["results"][0]["data"]["counts"]
        bits = task.circuit["bits"]
        return {_text(key, bits): int(count) for key, count in data.items()}

    async def cancel(self, vendor_job: str, task: Task) -> None:
        """See `Provider.cancel`."""
        job = vendor_job.partition("/")[2]
        await self._ask("POST", f"jobs/{quote(job, safe='')}/cancel", {})


def _text(number: str, bits: int) -> str:
    """Return a number in hexadecimal as bits, the lowest first."""
    return format(int(number, 16), f"0{bits}b")[::-1]


def _unpacked(text: str) -> bytes:
    try:
        opener = zlib.decompressobj()
        found = opener.decompress(base64.b64decode(text, validate=True), _RESULT_BYTES_MAX)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise garbled("Scaleway's result cannot be unpacked.", str(error)) from error
    if not opener.eof:
        raise garbled("Scaleway's result is not whole, or too large.")
    return found
