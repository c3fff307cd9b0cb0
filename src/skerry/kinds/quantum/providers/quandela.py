"""Quandela's machines by its cloud: a program as Perceval writes it, sampled.

What Perceval writes is passed on as it came, because nothing here writes its format.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

from skerry.kernel.errors import UNSUPPORTED
from skerry.kinds.quantum.catalogue.model import Device, Paradigm
from skerry.kinds.quantum.contract import JobState
from skerry.kinds.quantum.providers.calling import garbled
from skerry.kinds.quantum.providers.interface import Provider, Seen, Task, alias
from skerry.kinds.quantum.providers.reading import name_in, state_of

TOKEN = "QUANDELA_TOKEN"  # noqa: S105 (the name of a secret)
VERSION = "1.3.1"
PREFIX = ":PCVL:"
_BESIDE = ("experiment", "parameters", "noise")
_COUNT = re.compile(r"\|(\d{1,3}(?:,\d{1,3})*)>=(\d{1,18})")
_STATES = {
    "created": JobState.QUEUED,
    "waiting": JobState.QUEUED,
    "suspended": JobState.QUEUED,
    "running": JobState.RUNNING,
    "completed": JobState.COMPLETED,
    "error": JobState.FAILED,
    "cancel_requested": JobState.CANCELLING,
    "canceled": JobState.CANCELLED,
}


class Quandela(Provider):
    """Quandela's cloud."""

    name: ClassVar[str] = "quandela"
    base: ClassVar[str] = "https://api.cloud.quandela.com"
    secrets: ClassVar[tuple[str, ...]] = (TOKEN,)
    paradigms: ClassVar[frozenset[Paradigm]] = frozenset({Paradigm.PHOTONIC})

    def headers(self) -> dict[str, str]:
        """See `Provider.headers`."""
        return {"Authorization": f"Bearer {self.secret(TOKEN)}"}

    def has(self, device: Device) -> bool:
        """See `Provider.has`."""
        return device.vendor == "Quandela" and bool(alias(device, "qpu:"))

    def check(self, task: Task) -> None:
        """See `Provider.check`."""
        _program(task)

    async def send(self, task: Task) -> str:
        """See `Provider.send`."""
        payload = {
            **_program(task),
            "command": "sample_count",
            "max_shots": task.shots,
            "max_samples": task.shots,
        }
        body = {
            "platform_name": alias(task.device, "qpu:"),
            "pcvl_version": VERSION,
            "process_id": task.token,
            "job_name": task.token,
            "payload": payload,
        }
        return name_in((await self.ask("POST", "/api/job", body)).json(), "job_id", "Quandela")

    async def look(self, vendor_job: str, task: Task) -> Seen:
        """See `Provider.look`."""
        job = quote(vendor_job, safe="")
        found = (await self.ask("GET", f"/api/job/status/{job}")).json()
        state = state_of(_STATES, str(found.get("status")).lower(), "Quandela")
        if state is not JobState.COMPLETED:
            return Seen(state, reason=str(found.get("status_message") or ""))
        text = (await self.ask("GET", f"/api/job/result/{job}")).json().get("results")
        return Seen(state, counts=_counts(msgspec.json.decode(str(text))))

    async def cancel(self, vendor_job: str, task: Task) -> None:
        """See `Provider.cancel`."""
        await self.ask("POST", f"/api/job/cancel/{quote(vendor_job, safe='')}")


def _program(task: Task) -> dict[str, Any]:
    """Return what Perceval wrote, with what was sent beside it; raise UNSUPPORTED.

    Values of parameters go as one variation of the experiment.
    """
    shape = _shape(task.source.strip())
    if not str(shape.get("experiment")).startswith(PREFIX):
        raise UNSUPPORTED(
            f"{task.device.name} takes programs of Perceval's from here.",
            why="The program is none (`perceval.serialization.serialize`).",
        )
    change = dict(shape.get("iteration") or {})
    if task.bindings:
        change["circuit_params"] = {**(change.get("circuit_params") or {}), **task.bindings}
    beside = {name: shape[name] for name in _BESIDE if shape.get(name)}
    return {**beside, **({"iterator": [change]} if change else {})}


def _shape(text: str) -> dict[str, Any]:
    if text.startswith(PREFIX):
        return {"experiment": text}
    try:
        found = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return {}
    if isinstance(found, str):
        return {"experiment": found}
    return found if isinstance(found, dict) else {}


def _counts(found: Any) -> dict[str, int]:
    """Return how often each numbers of photons in the modes came, such as `1,0,2`."""
    if isinstance(found, dict) and "results_list" in found:
        found = found["results_list"][0]
    text = found.get("results") if isinstance(found, dict) else None
    if not isinstance(text, str) or not text.startswith(f"{PREFIX}BSCount:"):
        raise garbled("Quandela's result holds no counts.", str(found)[:200])
    return {state: int(count) for state, count in _COUNT.findall(text)}
