"""Machines on Amazon Braket, by signed HTTP; results lie in the account's own bucket.

Programs go as OpenQASM 3 in Braket's dialect and are compiled there. The bucket is the secret
BRAKET_BUCKET (Braket wants one whose name begins with `amazon-braket-`).
"""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import msgspec

from skerry.kernel.errors import UNSUPPORTED
from skerry.kernel.policy import Place
from skerry.kinds._shared.s3 import sigv4, times
from skerry.kinds.quantum.catalogue.model import Device, Paradigm
from skerry.kinds.quantum.contract import JobState
from skerry.kinds.quantum.providers.calling import Answer, call
from skerry.kinds.quantum.providers.interface import Dialect, Provider, Seen, Task, alias
from skerry.kinds.quantum.providers.reading import (
    bits_of,
    counted,
    name_in,
    reordered,
    state_of,
)

ARN = "arn:aws:braket:"
PREFIX = "skerry"
_STATES = {
    "CREATED": JobState.QUEUED,
    "QUEUED": JobState.QUEUED,
    "RUNNING": JobState.RUNNING,
    "COMPLETED": JobState.COMPLETED,
    "FAILED": JobState.FAILED,
    "CANCELLING": JobState.CANCELLING,
    "CANCELLED": JobState.CANCELLED,
}


class Braket(Provider):
    """Amazon Braket."""

    name: ClassVar[str] = "braket"
    base: ClassVar[str] = ""
    dialect: ClassVar[Dialect] = "braket"
    paradigms: ClassVar[frozenset[Paradigm]] = frozenset({Paradigm.GATE, Paradigm.ANALOG})
    booked: ClassVar[str] = "the ARN of a reservation"
    channel: ClassVar[str] = "Amazon Braket"
    secrets: ClassVar[tuple[str, ...]] = (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "BRAKET_BUCKET",
    )
    idempotent: ClassVar[bool] = True

    def has(self, device: Device) -> bool:
        """See `Provider.has`."""
        return bool(alias(device, ARN))

    def places(self, device: Device) -> tuple[Place, ...]:
        """See `Provider.places`; the machine is its maker's."""
        host = urlsplit(self._base(_region(device))).hostname or ""
        return Place("aws", host=host), Place(device.vendor.lower(), country=device.country)

    def _base(self, region: str) -> str:
        return self.address(usual=f"https://braket.{region}.amazonaws.com")

    def _bucket(self, region: str, bucket: str) -> str:
        known = self.setting.endpoints.get("s3", "")
        return (
            f"{known.rstrip('/')}/{bucket}"
            if known
            else (f"https://{bucket}.s3.{region}.amazonaws.com")
        )

    async def _call(
        self, service: str, region: str, method: str, url: str, body: bytes = b""
    ) -> Answer:
        keys = (self.secret("AWS_ACCESS_KEY_ID"), self.secret("AWS_SECRET_ACCESS_KEY"))
        now = self.setting.clock.now()
        headers = signed(method, url, body, keys, (region, service), now)
        return await call(method, url, headers, body or None)

    async def send(self, task: Task) -> str:
        """See `Provider.send`; the job's id is the token by which a repetition is known."""
        arn, region = _arn(task.device), _region(task.device)
        body = {
            "action": msgspec.json.encode(_action(task)).decode(),
            "clientToken": task.token,
            "deviceArn": arn,
            "outputS3Bucket": self.secret("BRAKET_BUCKET"),
            "outputS3KeyPrefix": PREFIX,
            "shots": task.shots,
        }
        if task.booking:
            body["associations"] = [{"arn": task.booking, "type": "RESERVATION_TIME_WINDOW_ARN"}]
        url = f"{self._base(region)}/quantum-task"
        answer = await self._call("braket", region, "POST", url, msgspec.json.encode(body))
        return name_in(answer.json(), "quantumTaskArn", "Braket")

    async def look(self, vendor_job: str, task: Task) -> Seen:
        """See `Provider.look`."""
        region = _region(task.device)
        url = f"{self._base(region)}/quantum-task/{quote(vendor_job, safe='')}"
        found: dict[str, Any] = (await self._call("braket", region, "GET", url)).json()
        state = state_of(_STATES, found.get("status"), "Braket")
        if state is not JobState.COMPLETED:
            place = str((found.get("queueInfo") or {}).get("position", ""))
            number = int(place) if place.isdigit() else None
            return Seen(state, number, reason=str(found.get("failureReason") or ""))
        base = self._bucket(region, str(found["outputS3Bucket"]))
        target = f"{base}/{quote(str(found['outputS3Directory']))}/results.json"
        outcome = (await self._call("s3", region, "GET", target)).json()
        return Seen(state, counts=_counts(outcome, task))

    async def cancel(self, vendor_job: str, task: Task) -> None:
        """See `Provider.cancel`."""
        region = _region(task.device)
        url = f"{self._base(region)}/quantum-task/{quote(vendor_job, safe='')}/cancel"
        body = msgspec.json.encode({"clientToken": f"{task.token}-cancel"})
        await self._call("braket", region, "PUT", url, body)


def _arn(device: Device) -> str:
    found = alias(device, ARN)
    if not found:
        raise UNSUPPORTED(f"{device.name} is not on Amazon Braket, as far as is known here.")
    return found


def _region(device: Device) -> str:
    """Return the region in a device's ARN; ARNs of simulators have none."""
    return _arn(device).split(":")[3] or "us-east-1"


def signed(
    method: str,
    url: str,
    body: bytes,
    keys: tuple[str, str],
    where: tuple[str, str],
    now_ns: int,
) -> dict[str, str]:
    """Return the headers that sign a request by Signature Version 4.

    `keys` are the access key and its secret, `where` region and service. Services other than S3
    sign the path encoded once more.
    """
    parts = urlsplit(url)
    stamp = times.moment(now_ns).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    headers = {
        "host": parts.netloc,
        "x-amz-content-sha256": digest,
        "x-amz-date": stamp,
    }
    if body:
        headers["content-type"] = "application/json"
    names = tuple(sorted(headers))
    path = parts.path if where[1] == "s3" else quote(parts.path, safe="/-_.~")
    credential = sigv4.Credential(keys[0], stamp[:8], *where)
    request = sigv4.Request(method, path, parts.query, tuple(sorted(headers.items())))
    asked = sigv4.Signed(credential, names, "", stamp, digest, query=False)
    text = sigv4.string_to_sign(stamp, credential.scope, sigv4.canonical_request(request, asked))
    signature = sigv4.signature(sigv4.signing_key(keys[1], stamp[:8], *where), text)
    headers["authorization"] = (
        f"{sigv4.ALGORITHM} Credential={keys[0]}/{credential.scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return headers


def _action(task: Task) -> dict[str, Any]:
    """Return the program as Braket takes it: analog ones as they came."""
    if task.device.paradigm is Paradigm.ANALOG:
        found: dict[str, Any] = msgspec.json.decode(task.source)
        return found
    head = {"name": "braket.ir.openqasm.program", "version": "1"}
    return {"braketSchemaHeader": head, "source": task.text, "inputs": {}}


def _counts(outcome: dict[str, Any], task: Task) -> dict[str, int]:
    """Return counts of the program's bits from the measurements of its qubits."""
    if task.device.paradigm is Paradigm.ANALOG:
        return _atoms(outcome["measurements"])
    columns = {qubit: place for place, qubit in enumerate(outcome["measuredQubits"])}
    places = [columns.get(qubit, -1) for qubit in bits_of(task.circuit)]
    if rows := outcome.get("measurements"):
        return counted(rows, places)
    return reordered(outcome["measurementProbabilities"], places, task.shots)


def _atoms(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Return counts of what was seen of every site: `g`round, `r`ydberg or `e`mpty."""
    counts: dict[str, int] = {}
    for row in rows:
        shot = row["shotResult"]
        pairs = zip(shot["preSequence"], shot["postSequence"], strict=True)
        text = "".join("e" if not before else "g" if after else "r" for before, after in pairs)
        counts[text] = counts.get(text, 0) + 1
    return counts
