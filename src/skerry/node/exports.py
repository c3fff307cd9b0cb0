"""Exports and imports: resources in standard formats, as one archive with a folder for each."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.catalogue import Branch, Catalogue
from skerry.kernel.commands import Download
from skerry.kernel.errors import INVALID, NOT_FOUND, UNSUPPORTED, SkerryError
from skerry.kernel.manifest import Manifest, Verb
from skerry.kernel.names import did_you_mean
from skerry.node.abroad import Abroad
from skerry.node.archives import Archives, give
from skerry.node.supervisor import Supervisor
from skerry.node.workshop import Workshop

FORMAT = 1
INDEX = "export.json"
_SECONDS_MAX = 24 * 3600.0

Progress = Callable[[int, int, str], None]


class Part(msgspec.Struct, frozen=True):
    """A resource in an export; its folder bears its name."""

    name: str
    kind: str


class Index(msgspec.Struct, frozen=True):
    """`export.json`: what an archive holds, and in which format."""

    format: int
    app: str
    branch: str
    parts: tuple[Part, ...]


class Exports:
    """Moves state out of resources and into them."""

    def __init__(
        self,
        catalogue: Catalogue,
        manifests: Mapping[str, Manifest],
        supervisor: Supervisor,
        workshop: Workshop,
        archives: Archives,
        abroad: Abroad,
    ) -> None:
        self._abroad = abroad
        self._catalogue = catalogue
        self._manifests = manifests
        self._supervisor = supervisor
        self._workshop = workshop
        self._archives = archives

    async def export(self, branch: Branch, name: str | None, progress: Progress) -> Download:
        """Export a resource, or every one that can be; return the archive's id.

        Of a whole branch, what says that it cannot be exported is left out, and told as progress.
        """
        if name is None:
            self._abroad.check_whole(branch, "An export")
        names = [name] if name else self._able(branch, Verb.EXPORT)
        owner = self._workshop.uid(branch.app)
        top = self._archives.new_directory()
        parts = []
        try:
            for number, each in enumerate(names):
                kind = self._check(branch, each, Verb.EXPORT)
                progress(number, len(names), each)
                folder = self._archives.new_directory_for(branch.app, owner)
                try:
                    await self._call("export", branch, each, folder, progress)
                except SkerryError as error:
                    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
                    if name is not None or error.code != UNSUPPORTED.code:
                        raise
                    progress(number + 1, len(names), f"{each} is left out: {error.what}")
                    continue
                folder.rename(top / each)
                parts.append(Part(each, kind))
            index = Index(FORMAT, branch.app, branch.name, tuple(parts))
            (top / INDEX).write_bytes(msgspec.json.format(msgspec.json.encode(index)))
            download = await self._archives.pack(top)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, top, ignore_errors=True)
            raise
        return Download(download, tuple(part.name for part in parts))

    async def restore(
        self, branch: Branch, upload: str, name: str | None, progress: Progress
    ) -> list[str]:
        """Replace the state of a resource, or of all that the archive holds; return their names."""
        top = self._archives.new_directory()
        try:
            await self._archives.unpack(upload, top)
            parts = _read_index(top)
            wanted = [part for part in parts if name is None or part.name == name]
            if not wanted:
                held = did_you_mean(name or "", [part.name for part in parts])
                raise NOT_FOUND(f"The export does not hold {name}.", why=held)
            for part in wanted:
                kind = self._check(branch, part.name, Verb.IMPORT)
                if kind != part.kind:
                    raise INVALID(f"{part.name} is of kind {kind}, its export of {part.kind}.")
            for number, part in enumerate(wanted):
                progress(number, len(wanted), part.name)
                await self._restore_part(branch, top, part, progress)
        finally:
            await asyncio.to_thread(shutil.rmtree, top, ignore_errors=True)
        return [part.name for part in wanted]

    async def _restore_part(
        self, branch: Branch, top: Path, part: Part, progress: Progress
    ) -> None:
        owner = self._workshop.uid(branch.app)
        folder = self._archives.new_directory_for(branch.app, owner)
        folder.rmdir()
        try:
            # It changes hands while only the node can reach it: no link can be slipped in.
            await asyncio.to_thread(give, top / part.name, owner)
            (top / part.name).rename(folder)
            await self._call("restore", branch, part.name, folder, progress)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _call(
        self, method: str, branch: Branch, name: str, folder: Path, progress: Progress
    ) -> None:
        running = await self._supervisor.wake(branch.app, branch.name, name)

        def report(value: dict[str, Any]) -> None:
            progress(value["done"], value["total"], f"{name}: {value['text']}")

        params = {"resource": name, "directory": str(folder)}
        await running.channel.call(method, params, seconds=_SECONDS_MAX, on_progress=report)

    def _able(self, branch: Branch, verb: Verb) -> list[str]:
        return [
            record.name
            for record in self._catalogue.declared(branch)
            if self._manifests[record.kind].able(verb)
        ]

    def _check(self, branch: Branch, name: str, verb: Verb) -> str:
        record = self._catalogue.record(branch.app, branch.name, name)
        manifest = self._manifests[record.kind]
        if not manifest.able(verb):
            raise UNSUPPORTED(
                f"{name} ({record.kind}) cannot {verb}.", why=manifest.can[verb].reason
            )
        return record.kind


def _read_index(top: Path) -> tuple[Part, ...]:
    try:
        index = msgspec.json.decode((top / INDEX).read_bytes(), type=Index)
    except (OSError, msgspec.DecodeError) as error:
        raise INVALID("This is not an export of Skerry.", why=f"{INDEX}: {error}") from error
    if index.format > FORMAT:
        raise INVALID(
            f"The export has format {index.format}; this node knows up to {FORMAT}.",
            hint="Update Skerry.",
        )
    if len({part.name for part in index.parts}) < len(index.parts):
        raise INVALID("The export names a resource twice.")
    for part in index.parts:
        if not (top / part.name).is_dir():
            raise INVALID(f"The export's folder {part.name} is missing.")
    return index.parts
