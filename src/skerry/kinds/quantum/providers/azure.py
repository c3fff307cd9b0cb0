"""Machines on Azure Quantum: input and output as blobs, the job by the workspace's REST API.

The job has the id that it has here, so that sending it twice makes one. Each maker has a format of
its own there: IonQ's JSON, OpenQASM 2 for Quantinuum, Quil for Rigetti. Pasqal's sequences go as
Pulser writes them.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec

from skerry.kernel.errors import SkerryError
from skerry.kernel.money import MICRO
from skerry.kinds.quantum.catalogue.model import Device, Paradigm
from skerry.kinds.quantum.contract import JobState
from skerry.kinds.quantum.providers.calling import Answer, call, garbled
from skerry.kinds.quantum.providers.interface import (
    Charge,
    Dialect,
    Provider,
    Seen,
    Setting,
    Task,
)
from skerry.kinds.quantum.providers.ionq import counts_of, native_input
from skerry.kinds.quantum.providers.pasqal import sequence, sites
from skerry.kinds.quantum.providers.quil import quil
from skerry.kinds.quantum.providers.reading import (
    counted,
    registers_of,
    state_of,
)
from skerry.kinds.quantum.providers.tokens import Token

TENANT, CLIENT, SECRET = "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"
WORKSPACE, LOCATION = "AZURE_QUANTUM_WORKSPACE", "AZURE_QUANTUM_LOCATION"
VERSION = "2026-01-15-preview"
BLOB_VERSION = "2023-11-03"
LOGIN = "https://login.microsoftonline.com"
SCOPE = "https://quantum.microsoft.com/.default"
_BLOB = "inputData"
_STATES = {
    "Queued": JobState.QUEUED,
    "Waiting": JobState.QUEUED,
    "Executing": JobState.RUNNING,
    "Finishing": JobState.RUNNING,
    "CancellationRequested": JobState.CANCELLING,
    "Cancelling": JobState.CANCELLING,
    "Succeeded": JobState.COMPLETED,
    "Completed": JobState.COMPLETED,
    "Failed": JobState.FAILED,
    "Cancelled": JobState.CANCELLED,
}


class Format(NamedTuple):
    """What a maker takes and gives on Azure, and how its programs and outcomes are translated."""

    takes: str
    gives: str
    write: Callable[[Task], bytes]
    read: Callable[[Any, Task], dict[str, int]]


class Azure(Provider):
    """A workspace of Azure Quantum."""

    name: ClassVar[str] = "azure"
    base: ClassVar[str] = "https://quantum.azure.com"
    secrets: ClassVar[tuple[str, ...]] = (TENANT, CLIENT, SECRET, WORKSPACE, LOCATION)
    paradigms: ClassVar[frozenset[Paradigm]] = frozenset({Paradigm.GATE, Paradigm.ANALOG})
    idempotent: ClassVar[bool] = True
    booked: ClassVar[str] = "a session's id"
    channel: ClassVar[str] = "Azure Quantum"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._token = Token(setting.clock)

    def address(self, name: str = "", usual: str = "") -> str:
        """See `Provider.address`; every location has its own."""
        location = self.setting.secrets.get(LOCATION, "")
        own = f"https://{location}.quantum.azure.com" if location else self.base
        return super().address(name, usual or own)

    def has(self, device: Device) -> bool:
        """See `Provider.has`."""
        return bool(_target(device))

    def dialect_of(self, device: Device) -> Dialect:
        """See `Provider.dialect_of`."""
        return "openqasm2" if _target(device).startswith("quantinuum") else ""

    def check(self, task: Task) -> None:
        """See `Provider.check`."""
        FORMATS[_target(task.device).partition(".")[0]].write(task)

    async def _call(self, method: str, path: str, body: Any = None) -> Answer:
        tenant = quote(self.secret(TENANT), safe="")
        url = f"{self.address('azure-login', LOGIN)}/{tenant}/oauth2/v2.0/token"
        form = {
            "grant_type": "client_credentials",
            "client_id": self.secret(CLIENT),
            "client_secret": self.secret(SECRET),
            "scope": SCOPE,
        }
        headers = {"Authorization": f"Bearer {await self._token.get(url, form)}"}
        workspace = "/" + self.secret(WORKSPACE).strip("/")
        target = f"{quote(workspace)}/{path}?api-version={VERSION}"
        return await self.ask(method, target, body, headers)

    async def _blob(self, container: str, blob: str = "") -> str:
        asked = {"containerName": container} | ({"blobName": blob} if blob else {})
        found = (await self._call("POST", "storage/sasUri", asked)).json().get("sasUri")
        if not isinstance(found, str):
            raise garbled("Azure's answer names no storage.")
        return found

    async def send(self, task: Task) -> str:
        """See `Provider.send`."""
        target = _target(task.device)
        maker = target.partition(".")[0]
        form = FORMATS[maker]
        data = form.write(task)
        container = await self._blob(f"job-{task.token}")
        await _made(container)
        place = _inside(container, _BLOB)
        blob = {"x-ms-blob-type": "BlockBlob", "x-ms-version": BLOB_VERSION}
        await call("PUT", place, blob, data)
        body = {
            "id": task.token,
            "name": task.name or task.token,
            "itemType": "Job",
            "containerUri": container,
            "inputDataUri": place.partition("?")[0],
            "inputDataFormat": form.takes,
            "outputDataFormat": form.gives,
            "providerId": maker,
            "target": target,
            "inputParams": {"shots": task.shots},
        }
        if task.booking:
            body["sessionId"] = task.booking
        await self._call("PUT", f"jobs/{task.token}", body)
        return task.token

    async def look(self, vendor_job: str, task: Task) -> Seen:
        """See `Provider.look`."""
        found = (await self._call("GET", f"jobs/{quote(vendor_job, safe='')}")).json()
        state = state_of(_STATES, found.get("status"), "Azure")
        charge = _charge(found.get("costEstimate") or {})
        if state is not JobState.COMPLETED:
            error = found.get("errorData") or {}
            reason = f"{error.get('code', '')} {error.get('message', '')}".strip()
            return Seen(state, reason=reason, charge=charge)
        place = str(found["outputDataUri"])
        if not urlsplit(place).query:
            container, _, blob = urlsplit(place).path.strip("/").rpartition("/")
            place = await self._blob(container.rpartition("/")[2], blob)
        outcome = (await call("GET", place, {"x-ms-version": BLOB_VERSION})).json()
        form = FORMATS[_target(task.device).partition(".")[0]]
        return Seen(state, counts=form.read(outcome, task), charge=charge)

    async def cancel(self, vendor_job: str, task: Task) -> None:
        """See `Provider.cancel`."""
        await self._call("POST", f"jobs/{quote(vendor_job, safe='')}:cancel")


def _target(device: Device) -> str:
    """Return the name of a device as a target of Azure's, such as `ionq.qpu.forte-1`."""
    known = (each for each in device.aliases if ".qpu." in each)
    return next((each for each in known if each.partition(".")[0] in FORMATS), "")


def _inside(container: str, blob: str) -> str:
    """Return the address of a blob in a container, with the container's signature."""
    place, _, query = container.partition("?")
    return f"{place}/{blob}?{query}"


async def _made(container: str) -> None:
    """Make the container of a job, unless it is there."""
    place, _, query = container.partition("?")
    url = f"{place}?restype=container&{query}"
    try:
        await call("PUT", url, {"x-ms-version": BLOB_VERSION, "Content-Length": "0"})
    except SkerryError as error:
        if "ContainerAlreadyExists" not in error.why:
            raise


def _charge(found: dict[str, Any]) -> Charge | None:
    total, currency = found.get("estimatedTotal"), found.get("currencyCode")
    if total is None or currency not in ("EUR", "USD"):
        return None
    return Charge(currency, int(Decimal(str(total)) * MICRO))


def _quantinuum(outcome: Any, task: Task) -> dict[str, int]:
    """Return counts from the texts of every register, whose last bit comes first."""
    parts = [[text[::-1] for text in outcome[name]] for name, _, _ in registers_of(task.circuit)]
    rows = ("".join(row) for row in zip(*parts, strict=True))
    return counted(rows, range(task.circuit["bits"]))


def _rigetti(outcome: Any, task: Task) -> dict[str, int]:
    return counted(outcome["ro"], range(task.circuit["bits"]))


FORMATS = {
    "ionq": Format(
        "ionq.circuit.v1",
        "ionq.quantum-results.v1",
        lambda task: msgspec.json.encode(native_input(task)),
        lambda outcome, task: counts_of(outcome["histogram"], task),
    ),
    "quantinuum": Format(
        "honeywell.openqasm.v1",
        "honeywell.quantum-results.v1",
        lambda task: task.text.encode(),
        _quantinuum,
    ),
    "rigetti": Format(
        "rigetti.quil.v1",
        "rigetti.quil-results.v1",
        lambda task: quil(task.compiled).encode(),
        _rigetti,
    ),
    "pasqal": Format(
        "pasqal.pulser.v1",
        "pasqal.pulser-results.v1",
        lambda task: msgspec.json.encode({"sequence_builder": sequence(task)}),
        lambda outcome, task: sites(outcome.get("counter", outcome)),
    ),
}
"""Makers whose machines can be reached through Azure."""
