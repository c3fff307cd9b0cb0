"""IBM's machines by the Qiskit Runtime REST API: one PUB of the sampler, in OpenQASM 3.

Twirling and dynamical decoupling are left as the API has them without options. The job carries its
token as a tag, by which it is found again. Where the ceiling pays for so many seconds, IBM is told
to stop the job after them.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from skerry.kinds.quantum.catalogue.model import Device
from skerry.kinds.quantum.contract import JobState
from skerry.kinds.quantum.providers.calling import Answer, garbled
from skerry.kinds.quantum.providers.interface import (
    Dialect,
    Provider,
    Seen,
    Setting,
    Task,
    alias,
)
from skerry.kinds.quantum.providers.reading import counted, name_in, registers_of, state_of
from skerry.kinds.quantum.providers.tokens import Token

KEY, INSTANCE = "IBM_API_KEY", "IBM_INSTANCE_CRN"
VERSION = "2025-05-01"
IAM = "https://iam.cloud.ibm.com"
OVERHEAD_SECONDS, DELAY_SECONDS = 2.0, 250e-6
"""What a job is counted beside its shots: IBM's documentation on estimating usage, recalled."""

_GRANT = "urn:ibm:params:oauth:grant-type:apikey"
_ARRAY_BYTES_MAX = 64 << 20
_MAGIC = b"\x93NUMPY"
_STATES = {
    "Queued": JobState.QUEUED,
    "Running": JobState.RUNNING,
    "Completed": JobState.COMPLETED,
    "Failed": JobState.FAILED,
    "Cancelled": JobState.CANCELLED,
    "Cancelled - Ran too long": JobState.CANCELLED,
}


class IBM(Provider):
    """IBM Quantum Platform."""

    name: ClassVar[str] = "ibm"
    base: ClassVar[str] = "https://quantum.cloud.ibm.com/api/v1"
    secrets: ClassVar[tuple[str, ...]] = (KEY, INSTANCE)
    dialect: ClassVar[Dialect] = "native3"
    searches: ClassVar[bool] = True
    booked: ClassVar[str] = "a session's id"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._token = Token(setting.clock)

    def address(self, name: str = "", usual: str = "") -> str:
        """See `Provider.address`; an instance of Frankfurt has an API of its own."""
        region = [*self.setting.secrets.get(INSTANCE, "").split(":"), *[""] * 6][5]
        own = "https://eu-de.quantum.cloud.ibm.com/api/v1" if region == "eu-de" else self.base
        return super().address(name, usual or own)

    def has(self, device: Device) -> bool:
        """See `Provider.has`."""
        return device.vendor == "IBM" and bool(alias(device, "ibm_"))

    def seconds(self, shots: int, shot_seconds: float | None) -> float:
        """See `Provider.seconds`: IBM counts an overhead, and a delay before every shot."""
        return OVERHEAD_SECONDS + shots * (DELAY_SECONDS + (shot_seconds or 0.0))

    async def _call(self, method: str, path: str, body: Any = None) -> Answer:
        form = {"grant_type": _GRANT, "apikey": self.secret(KEY)}
        token = await self._token.get(f"{self.address('iam', IAM)}/identity/token", form)
        headers = {
            "Authorization": f"Bearer {token}",
            "Service-CRN": self.secret(INSTANCE),
            "IBM-API-Version": VERSION,
        }
        return await self.ask(method, path, body, headers)

    async def send(self, task: Task) -> str:
        """See `Provider.send`."""
        params = {
            "pubs": [[task.text, None, task.shots]],
            "options": {},
            "version": 2,
            "support_qiskit": False,
        }
        body: dict[str, Any] = {
            "program_id": "sampler",
            "backend": alias(task.device, "ibm_"),
            "params": params,
            "tags": [task.token],
        }
        if task.booking:
            body["session_id"] = task.booking
        if task.seconds_max:
            body["cost"] = task.seconds_max
        return name_in((await self._call("POST", "/jobs", body)).json(), "id", "IBM")

    async def search(self, task: Task) -> str | None:
        """See `Provider.search`."""
        query = urlencode({"tags": task.token, "exclude_params": "true", "limit": 2})
        found = (await self._call("GET", f"/jobs?{query}")).json().get("jobs") or []
        named = [each for each in found if task.token in (each.get("tags") or ())]
        return name_in(named[0], "id", "IBM") if named else None

    async def look(self, vendor_job: str, task: Task) -> Seen:
        """See `Provider.look`."""
        path = f"/jobs/{quote(vendor_job, safe='')}"
        said = (await self._call("GET", f"{path}?exclude_params=true")).json().get("state") or {}
        state = state_of(_STATES, said.get("status"), "IBM")
        reason = str(said.get("reason") or "")
        if state is JobState.RUNNING:
            return Seen(state)
        metrics = (await self._call("GET", f"{path}/metrics")).json()
        position = metrics.get("position_in_queue")
        seconds = (metrics.get("usage") or {}).get("quantum_seconds")
        if state is not JobState.COMPLETED:
            return Seen(state, position, reason=reason, seconds=seconds)
        data = _data((await self._call("GET", f"{path}/results")).json())
        return Seen(state, counts=_counts(data, task), seconds=seconds)

    async def cancel(self, vendor_job: str, task: Task) -> None:
        """See `Provider.cancel`."""
        await self._call("POST", f"/jobs/{quote(vendor_job, safe='')}/cancel")


def _data(found: dict[str, Any]) -> dict[str, Any]:
    """Return the registers of the only PUB, plain or as Qiskit's objects are written."""
    if found.get("__type__") == "PrimitiveResult":
        pub = found["__value__"]["pub_results"][0]["__value__"]
        fields: dict[str, Any] = pub["data"]["__value__"]["fields"]
        return fields
    data: dict[str, Any] = found["results"][0]["data"]
    return data


def _counts(data: dict[str, Any], task: Task) -> dict[str, int]:
    """Return counts over all registers, shot by shot."""
    parts = [
        list(_shots(data[name], size))
        for name, _, size in sorted(registers_of(task.circuit), key=lambda each: each[1])
    ]
    rows = ("".join(row) for row in zip(*parts, strict=True))
    return counted(rows, range(task.circuit["bits"]))


def _shots(found: dict[str, Any], bits: int) -> Iterator[str]:
    """Yield the bits of a register in every shot, its first bit first."""
    if found.get("__type__") == "BitArray":
        inner = found["__value__"]["array"]
        size = (int(found["__value__"]["num_bits"]) + 7) // 8
        data = _array(inner["__value__"] if isinstance(inner, dict) else inner)
        numbers = (data[at : at + size] for at in range(0, len(data), size))
        for each in numbers:
            yield format(int.from_bytes(each, "big"), f"0{bits}b")[::-1]
        return
    for text in found["samples"]:
        yield format(int(text, 16), f"0{bits}b")[::-1]


def _array(text: str) -> bytes:
    """Return the bytes of an array of NumPy's that was packed by zlib and base64."""
    try:
        opener = zlib.decompressobj()
        data = opener.decompress(base64.b64decode(text, validate=True), _ARRAY_BYTES_MAX)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise garbled("IBM's answer holds no array.", str(error)) from error
    if not opener.eof or data[:6] != _MAGIC or b"'|u1'" not in data[:128]:
        raise garbled("IBM's answer holds an array of another kind.")
    return data[10 + int.from_bytes(data[8:10], "little") :]
