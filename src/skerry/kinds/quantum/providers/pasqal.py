"""Pasqal's machines by its cloud: a Pulser sequence as it was written, in a batch of one job.

The batch carries the job's token as a tag, by which it is found again. The token of access comes
from the account's name and password, as the vendor's own client asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

import msgspec

from skerry.kernel.errors import UNSUPPORTED
from skerry.kinds.quantum.catalogue.model import Device, Paradigm
from skerry.kinds.quantum.contract import JobState
from skerry.kinds.quantum.providers.calling import Answer, call, garbled
from skerry.kinds.quantum.providers.interface import Provider, Seen, Setting, Task
from skerry.kinds.quantum.providers.reading import name_in, state_of
from skerry.kinds.quantum.providers.tokens import Token

USER, PASSWORD, PROJECT = "PASQAL_USERNAME", "PASQAL_PASSWORD", "PASQAL_PROJECT_ID"
LOGIN = "https://pasqal.eu.auth0.com/oauth/token"
_FORM = {
    "grant_type": "http://auth0.com/oauth/grant-type/password-realm",
    "realm": "pcs-users",
    "audience": "https://apis.pasqal.cloud/account/api/v1",
    "client_id": "PeZvo7Atx7IVv3iel59asJSb4Ig7vuSB",
}
"""What the vendor's client sends for everybody; the id is public."""

_DEVICES = {"pasqal-fresnel": "FRESNEL", "pasqal-fresnel-can1": "FRESNEL_CAN1"}
_STATES = {
    "PENDING": JobState.QUEUED,
    "RUNNING": JobState.RUNNING,
    "DONE": JobState.COMPLETED,
    "ERROR": JobState.FAILED,
    "TIMED_OUT": JobState.FAILED,
    "CANCELED": JobState.CANCELLED,
}


class Pasqal(Provider):
    """Pasqal's own cloud."""

    name: ClassVar[str] = "pasqal"
    base: ClassVar[str] = "https://apis.pasqal.cloud/core-fast"
    secrets: ClassVar[tuple[str, ...]] = (USER, PASSWORD, PROJECT)
    paradigms: ClassVar[frozenset[Paradigm]] = frozenset({Paradigm.ANALOG})
    searches: ClassVar[bool] = True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._token = Token(setting.clock)

    def has(self, device: Device) -> bool:
        """See `Provider.has`."""
        return device.id in _DEVICES

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        form = {**_FORM, "username": self.secret(USER), "password": self.secret(PASSWORD)}
        token = await self._token.get(self.address("pasqal-login", LOGIN), form)
        answer: Answer = await self.ask(method, path, body, {"Authorization": f"Bearer {token}"})
        return answer.json().get("data")

    def check(self, task: Task) -> None:
        """See `Provider.check`."""
        sequence(task)

    async def send(self, task: Task) -> str:
        """See `Provider.send`."""
        body = {
            "sequence_builder": sequence(task),
            "jobs": [{"runs": task.shots}],
            "open": False,
            "device_type": _DEVICES[task.device.id],
            "project_id": self.secret(PROJECT),
            "tags": [task.token],
        }
        return name_in(await self._call("POST", "/api/v1/batches", body) or {}, "id", "Pasqal")

    async def search(self, task: Task) -> str | None:
        """See `Provider.search`."""
        query = urlencode({"tag": task.token, "project_id": self.secret(PROJECT)})
        for each in await self._call("GET", f"/api/v1/batches?{query}") or ():
            if task.token in (each.get("tags") or ()):
                return name_in(each, "id", "Pasqal")
        return None

    async def look(self, vendor_job: str, task: Task) -> Seen:
        """See `Provider.look`."""
        query = urlencode({"batch_id": vendor_job})
        jobs = await self._call("GET", f"/api/v2/jobs?{query}")
        if not jobs:
            raise garbled("Pasqal's batch has no job.")
        state = state_of(_STATES, jobs[0].get("status"), "Pasqal")
        if state is not JobState.COMPLETED:
            return Seen(state, reason=str(jobs[0].get("errors") or ""))
        job = quote(name_in(jobs[0], "id", "Pasqal"), safe="")
        link = (await self._call("GET", f"/api/v1/jobs/{job}/results_link"))["results_link"]
        # The link is signed for whoever has it: no token goes there.
        outcome = (await call("GET", link, {})).json()
        return Seen(state, counts=sites(outcome["counter"]))

    async def cancel(self, vendor_job: str, task: Task) -> None:
        """See `Provider.cancel`."""
        await self._call("PATCH", f"/api/v2/batches/{quote(vendor_job, safe='')}/cancel")


def sequence(task: Task) -> str:
    """Return a task's Pulser sequence; raise UNSUPPORTED for any other program."""
    try:
        found = msgspec.json.decode(task.source)
    except msgspec.MsgspecError:
        found = None
    if not isinstance(found, dict) or "operations" not in found or "register" not in found:
        raise UNSUPPORTED(
            f"{task.device.name} takes sequences of Pulser from here.",
            why="The program is no abstract representation (`Sequence.to_abstract_repr`).",
        )
    return task.source


def sites(counter: Mapping[str, Any]) -> dict[str, int]:
    """Return counts of texts of `g` and `r`, one letter an atom, from those of 0 and 1."""
    turned = str.maketrans("01", "gr")
    return {str(word).translate(turned): int(count) for word, count in counter.items()}
