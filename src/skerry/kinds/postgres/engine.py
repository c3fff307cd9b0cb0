"""The engine: one PostgreSQL server on one state directory.

The state directory holds `data/` (PostgreSQL's own), `roles.json` (see `roles`), `identity.json`
(whose directory it is), `usage.json` (what was metered), and for point-in-time `archive/` and `base/`.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.app import parse_duration
from skerry.kernel.kind import Context, Engine
from skerry.kinds.postgres import cluster, install, roles
from skerry.kinds.postgres.config import PostgresConfig
from skerry.kinds.postgres.control import Control
from skerry.kinds.postgres.server import SOCKET, Server, end_leftovers

_WATCH_SECONDS = 0.5


class Identity(msgspec.Struct, frozen=True):
    """Whose directory it is and what has been set up in it; if it differs, set-up is done again."""

    id: str
    extensions: tuple[str, ...]


class Counted(msgspec.Struct, frozen=True):
    """The server's totals that have been metered already."""

    sessions: int = 0
    active_ms: int = 0
    rows_written: int = 0


class PostgresEngine(Engine):
    """Serves one PostgreSQL cluster."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.config: PostgresConfig = msgspec.convert(context.config, PostgresConfig)
        self.data = context.directory / "data"
        self.archive = context.directory / "archive"
        self.retention_seconds = parse_duration(self.config.retention)
        self.server = Server(self.data, context.run, context.clock, context.log)
        self.control = Control(context.run, context.keys)
        self._watcher: asyncio.Task[None] | None = None
        self._known: dict[str, str] = {}
        self._counted = Counted()

    async def start(self) -> None:
        """See `Engine.start`; raises ENGINE_FAILED with the server's last words."""
        installation = self.installation()
        identity = Identity(self.context.id, self.config.extensions)
        before = _read(self._identity_file, Identity)
        if not self.data.exists():
            verifier = await asyncio.to_thread(roles.superuser_verifier, self.context.keys)
            await cluster.create(installation, self.data, str(verifier))
        await end_leftovers(self.data, self.context.clock)
        cloned = before is not None and before.id != self.context.id
        await asyncio.to_thread(cluster.take_over, self.data, cloned)
        self._load_counted()
        self._configure(installation)
        await self.server.start(installation.program("postgres"))
        try:
            if before != identity:
                await self.control.own_application_role()
                await self.control.create_extensions(self.config.extensions)
                await self._save_roles()
                await asyncio.to_thread(_write, self._identity_file, identity)
        except BaseException:
            await self.stop()
            raise
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """See `Engine.stop`."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
            await self.server.thaw()
            if self.server.running:
                await self._collect()
                await self._save_roles()
        await self.control.close()
        await self.server.stop()

    async def endpoint(self) -> str:
        """See `Engine.endpoint`."""
        return str(self.context.run / SOCKET)

    async def busy(self) -> str:
        """See `Engine.busy`; idle sessions do not count, as pools keep them for hours."""
        if not self.server.running:
            return ""
        await self._collect()
        return await self.control.busy()

    async def prepare(self) -> None:
        """See `Engine.prepare`."""
        await self.control.checkpoint()

    async def freeze(self, atomic: bool) -> None:
        """See `Engine.freeze`; an instant copy needs no pause, as the WAL makes it consistent."""
        if not atomic:
            await self.server.freeze()

    async def thaw(self) -> None:
        """See `Engine.thaw`."""
        await self.server.thaw()

    async def export(self, target: Path) -> None:
        """See `Engine.export`."""
        raise NotImplementedError

    async def restore(self, source: Path) -> None:
        """See `Engine.restore`."""
        raise NotImplementedError

    def installation(self) -> install.Installation:
        """Return the PostgreSQL that can open this directory."""
        major = cluster.major_version(self.data) or self.config.version
        return install.find(self.config.bin, major)

    def _configure(self, installation: install.Installation) -> None:
        archive = None
        if self.retention_seconds and installation.has_module("basic_archive"):
            self.archive.mkdir(exist_ok=True)
            archive = self.archive
        name = str(self.context.ref)
        cluster.configure(installation, self.config, self.data, self.context.run, name, archive)

    async def _watch(self) -> None:
        """Write the verifiers down whenever they change, for the node to know while we sleep."""
        while True:
            await self._save_roles()
            await asyncio.sleep(_WATCH_SECONDS)

    async def _save_roles(self) -> None:
        verifiers = await self.control.verifiers()
        if verifiers != self._known:
            content = roles.Roles(self.context.id, verifiers)
            await asyncio.to_thread(roles.write, self.context.directory, content)
            self._known = verifiers

    async def _collect(self) -> None:
        """Meter the growth of the server's totals since they were last looked at."""
        total = await self.control.usage()
        before = msgspec.structs.asdict(self._counted)
        for unit, value in total.items():
            if value > before[unit]:
                self.context.meter.add(unit, value - before[unit])
        counted = Counted(**total)
        if counted != self._counted:
            self._counted = counted
            await asyncio.to_thread(_write, self._usage_file, counted)

    def _load_counted(self) -> None:
        """The server forgets its totals in a crash, and then counts from nought."""
        kept = (self.data / "pg_stat" / "pgstat.stat").exists()
        self._counted = (_read(self._usage_file, Counted) if kept else None) or Counted()

    @property
    def _identity_file(self) -> Path:
        return self.context.directory / "identity.json"

    @property
    def _usage_file(self) -> Path:
        return self.context.directory / "usage.json"


def _read(path: Path, shape: type[Any]) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes(), type=shape)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _write(path: Path, content: msgspec.Struct) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(content))
    temporary.replace(path)
