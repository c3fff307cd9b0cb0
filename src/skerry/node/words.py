"""Words of kinds: commands that the process which serves a resource carries out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from skerry.kernel.catalogue import Catalogue
from skerry.kernel.commands import WordCall
from skerry.kernel.errors import INVALID
from skerry.kernel.manifest import Manifest
from skerry.node.sandbox.namespaces import accounts_mark
from skerry.node.supervisor import Supervisor

Progress = Callable[[int, int, str], None]
"""Called with what is done, the total (0 if it is not known), and what is being done."""

SECONDS_MAX = 24 * 3600.0


class Words:
    """Carries words out; whether they are allowed has been decided before."""

    def __init__(
        self,
        catalogue: Catalogue,
        manifests: Mapping[str, Manifest],
        supervisor: Supervisor,
    ) -> None:
        self._catalogue = catalogue
        self._manifests = manifests
        self._supervisor = supervisor

    async def call(
        self,
        kind: str,
        word: str,
        call: WordCall,
        progress: Progress,
        seconds: float = SECONDS_MAX,
    ) -> Any:
        """Wake the resource and return what its engine answers, in the word's result type.

        Raises NOT_FOUND, INVALID if the resource is of another kind, and what the engine raises.
        """
        record = self._catalogue.record(call.app, call.branch, call.name)
        if record.kind != kind:
            raise INVALID(
                f"{call.name} is of kind {record.kind}, not {kind}.",
                hint=f"skerry {record.kind} --help",
            )
        result = next(each.result for each in self._manifests[kind].words if each.name == word)
        running = await self._supervisor.wake(call.app, call.branch, call.name)
        if running.accounts != accounts_mark():
            running, _ = await self._supervisor.ready(call.app, call.branch, call.name)

        def report(value: dict[str, Any]) -> None:
            progress(value["done"], value["total"], value["text"])

        params = {"resource": call.name, "word": word, "params": call.params}
        raw = await running.channel.call("word", params, seconds=seconds, on_progress=report)
        return msgspec.convert(raw, result)
