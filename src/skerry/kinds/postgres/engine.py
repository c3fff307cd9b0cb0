"""The engine: one PostgreSQL server on one state directory.

The state directory holds `data/` (PostgreSQL's own), `roles.json` (see `roles`), `identity.json`
(whose directory it is), `usage.json` (what was metered), `share/` (see `trusted`), and for point in
time `archive/` and `base/` (see `recovery`).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.app import parse_duration
from skerry.kernel.errors import CONFLICT, UNSUPPORTED, SkerryError
from skerry.kernel.journal import journal_of
from skerry.kernel.kind import Context, Engine, Recover
from skerry.kernel.reading import leader_of
from skerry.kinds.postgres import (
    cluster,
    counts,
    following,
    install,
    records,
    roles,
    spawn,
    standby,
    statement,
    trusted,
)
from skerry.kinds.postgres.config import PostgresConfig
from skerry.kinds.postgres.control import CONNECTION_ERRORS, Control
from skerry.kinds.postgres.external import External, external_dsn
from skerry.kinds.postgres.manifest import (
    ExtensionInfo,
    ImportParams,
    ImportResult,
    NoParams,
    RoleInfo,
    SettingInfo,
    SqlParams,
    SqlResult,
)
from skerry.kinds.postgres.records import Counted, Identity, Owner
from skerry.kinds.postgres.recovery import History
from skerry.kinds.postgres.server import SOCKET, Server, end_leftovers
from skerry.kinds.postgres.transfer import Transfer
from skerry.kinds.postgres.tunnel import Source

_WATCH_SECONDS = 0.5
_HEADS = ("LOG:  ", "LOG:  replication ")
_HISTORY_SECONDS = 60.0
_AGAIN_SECONDS = 5.0
"""After a base backup that was given up for a copy: branches must not keep it away for ever."""
_FIRST_SECONDS = 1.0
"""Whoever woke the server comes before a base backup."""
_TARGET_BEHIND = "recovery ended before configured recovery target was reached"
"""What the server says if nothing was committed after the moment asked for."""


class PostgresEngine(Engine):
    """Serves one PostgreSQL cluster."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.config: PostgresConfig = msgspec.convert(context.config, PostgresConfig)
        self.data = context.directory / "data"
        self._retention_seconds = parse_duration(self.config.retention)
        self.history = History(context.directory, self._retention_seconds, context.clock)
        self.server = Server(self.data, context.run, context.clock, context.log, self._hear)
        self.control = Control(context.run, context.keys)
        self._tasks: list[asyncio.Task[None]] = []
        self._backing_up = asyncio.Lock()
        self._held = False
        self._external: External | None = None
        self._unsettled: Identity | None = None
        self._known: dict[str, str] = {}
        self._receiving: asyncio.Task[None] | None = None
        self._counted = Counted()
        self._standby: standby.Standby | None = None

    @classmethod
    def preload(cls) -> None:
        """See `Engine.preload`."""
        install.preload()
        spawn.preload()

    async def start(self) -> None:
        """See `Engine.start`; raises ENGINE_FAILED with the server's last words."""
        if self.config.external:
            await self._reach_out()
            return
        leader = leader_of(self.context.directory)
        if leader:
            await self._start_standby(leader)
            return
        installation = self.installation()
        before = records.read(self._identity_file, Identity)
        if not self.data.exists():
            credential = await asyncio.to_thread(roles.superuser_credential, self.context.keys)
            await cluster.create(installation, self.data, str(credential.verifier))
        owner = Owner(self.context.id)
        last = records.read(self._owner_file, Owner)
        if last is None:
            await asyncio.to_thread(following.seed, self.data)
        if last == owner:
            await end_leftovers(self.data, self.context.clock)
        if last is not None and before is not None and last != owner:
            # What a copy's parent had set up may not have been written down when it was copied.
            before = msgspec.structs.replace(before, id=last.id)
        cloned = last is not None and last != owner
        cloned = cloned or (before is not None and before.id != self.context.id)
        taking = await self._takes_up()
        pending = await self._make_ready(cloned)
        if last != owner:
            await asyncio.to_thread(records.write, self._owner_file, owner, follows=True)
        self._load_counted()
        before = before if pending is None else None
        learning = asyncio.create_task(self._learn(installation, before))
        try:
            await self._serve(installation, pending, taking=taking)
            await learning
            await self._begin_following()
            await self._set_up(before)
        except BaseException:
            learning.cancel()
            await self.stop()
            raise
        self._tasks = [asyncio.create_task(self._watch())]
        if self._archives(installation):
            self._tasks.append(asyncio.create_task(self._keep_history()))

    async def _start_standby(self, leader: str) -> None:
        """Serve a copy that follows another node's server; raise CONFLICT if there is none yet."""
        if not self.data.exists():
            raise CONFLICT(
                f"{self.context.ref.name} has no database yet.",
                why=f"It is made when it is first used on {leader}.",
            )
        await end_leftovers(self.data, self.context.clock)
        self._standby = standby.Standby(self.context.directory, self.context.log)
        self._load_counted()
        try:
            await asyncio.to_thread(trusted.write, self.installation(), self.context.directory)
            await self._serve_standby()
        except BaseException:
            await self.stop()
            raise
        self._tasks = [
            asyncio.create_task(self._watch()),
            asyncio.create_task(self._standby.run()),
        ]

    async def _serve_standby(self) -> None:
        assert self._standby is not None
        await asyncio.to_thread(self._standby.prepare)
        cluster.take_over(self.data)
        installation = self.installation()
        self._configure(installation, standby.settings(self.config))
        await self.server.start(installation.program("postgres"))
        await self._standby.catch_up(self.control.replayed)

    async def _takes_up(self) -> bool:
        """Take up what was received from another node's server, if anything was."""
        if self.history.pending() is not None or not following.may_take_up(self.context.directory):
            return False
        return await asyncio.to_thread(following.take_up, self.context.directory)

    async def _make_ready(self, cloned: bool) -> Recover | None:
        """Make the directory fit to be opened; return what is to be replayed then.

        Threads are for what takes long, as they cost.
        """
        pending = self.history.pending()
        if pending is not None:
            pending = await asyncio.to_thread(self.history.rewound, self.data, pending)
        if pending is None and self.history.leftovers(self.data):
            await asyncio.to_thread(self.history.tidy, self.data)
        if cloned:
            await asyncio.to_thread(cluster.cut_off, self.data)
        cluster.take_over(self.data)
        return pending

    async def stop(self) -> None:
        """See `Engine.stop`."""
        tasks, self._tasks = self._tasks, []
        self.history.abandon()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.server.thaw()
        if tasks and self.server.running:
            await self._settle()
            await self._collect()
            await self._save_roles()
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.gather(self._receiving, return_exceptions=True)
            self._receiving = None
        await self.control.close()
        await self.server.stop()
        if self._external is not None:
            await self._external.stop()

    async def endpoint(self) -> str:
        """See `Engine.endpoint`."""
        return str(self.context.run / SOCKET)

    async def busy(self) -> str:
        """See `Engine.busy`; idle sessions do not count, as pools keep them for hours."""
        if self._external is not None:
            return self._external.busy()
        if not self.server.running:
            return ""
        await self._collect()
        if self._backing_up.locked():
            return "a base backup is being taken"
        return await self.control.busy()

    async def check_moment(self, at: int) -> None:
        """See `Engine.check_moment`."""
        if self._external is None:
            await asyncio.to_thread(self.history.check, at)

    async def prepare(self) -> None:
        """See `Engine.prepare`."""
        if self.server.running:
            await self.control.checkpoint()

    async def freeze(self, atomic: bool) -> None:
        """See `Engine.freeze`; an instant copy needs no pause, as the WAL makes it consistent.

        Else a base backup that is being taken is given up, as its files come and go.
        """
        if atomic or not self.server.running:
            return
        self.history.abandon()
        await self._backing_up.acquire()
        try:
            await self.server.freeze()
        except BaseException:
            self._backing_up.release()
            raise
        self._held = True

    async def thaw(self) -> None:
        """See `Engine.thaw`."""
        try:
            await self.server.thaw()
        finally:
            if self._held:
                self._held = False
                self._backing_up.release()

    async def export(self, target: Path) -> None:
        """See `Engine.export`."""
        await self._transfer().export(target)

    async def restore(self, source: Path) -> None:
        """See `Engine.restore`."""
        await self._transfer().restore(source)

    async def status(self) -> dict[str, Any]:
        """See `Engine.status`."""
        if not self.server.running:
            return {"external": self.config.external}
        since = await asyncio.to_thread(self.history.since)
        status = await self.control.status()
        return {"version": self.installation().version, "recoverable_since": since, **status}

    async def count(self) -> dict[str, int]:
        """See `Engine.count`: the rows of every table of every database."""
        if not self.server.running:
            return {}
        return await counts.count(self.context.run, self.context.keys)

    async def word_import(self, params: ImportParams) -> ImportResult:
        """Copy a database from elsewhere; raises INVALID, ENGINE_FAILED."""
        tables, size = await self._transfer().copy_from(params.dsn, self.context.host.progress)
        return ImportResult(tables, size)

    async def word_sql(self, params: SqlParams) -> SqlResult:
        """Run one statement as the application; raises INVALID with the server's answer."""
        return await statement.run(self.context.run, self.context.keys, params)

    async def word_roles(self, _: NoParams) -> list[RoleInfo]:
        """List the roles."""
        return msgspec.convert(await self.control.roles(), list[RoleInfo])

    async def word_extensions(self, _: NoParams) -> list[ExtensionInfo]:
        """List the extensions."""
        return msgspec.convert(await self.control.extensions(), list[ExtensionInfo])

    async def word_settings(self, _: NoParams) -> list[SettingInfo]:
        """List the settings in force."""
        return msgspec.convert(await self.control.settings(), list[SettingInfo])

    def installation(self) -> install.Installation:
        """Return the PostgreSQL that can open this directory."""
        major = cluster.major_version(self.data) or self.config.version
        return install.find(self.config.bin, major)

    async def _reach_out(self) -> None:
        """Relay to the server that the DSN names; raise CONFIG_INVALID, UNSUPPORTED."""
        context = self.context
        dsn = external_dsn(context, self.config)
        self._external = External(Source.parse(dsn), context.run, context.keys)
        await self._external.start()

    def _transfer(self) -> Transfer:
        if self.config.external:
            raise UNSUPPORTED(
                "An external database is not exported or imported by this node.",
                hint="Use pg_dump and psql with its DSN.",
            )
        context = self.context
        return Transfer(self.installation(), self.control, context.run, context.keys)

    async def _serve(
        self,
        installation: install.Installation,
        pending: Recover | None,
        *,
        taking: bool = False,
    ) -> None:
        """Start the server; if a recovery is pending, carry it out first.

        `taking`: the database was another node's until now, and is recovered from what came of it.
        """
        program = installation.program("postgres")
        if taking:
            # What was archived here is of another node's time, and has a gap before this.
            await asyncio.to_thread(self.history.forget)
            self._configure(installation, following.RECOVERY)
            await self.server.start(program)
            return
        if pending is None:
            self._configure(installation, {})
            await self.server.start(program)
            return
        self._configure(installation, self.history.settings(self.data, pending))
        try:
            await self.server.start(program)
        except SkerryError as error:
            if _TARGET_BEHIND not in error.why:
                raise
            self._configure(installation, self.history.settings(self.data, None))
            await self.server.start(program)
        await asyncio.to_thread(self.history.done, self.data, pending)

    async def _learn(self, installation: install.Installation, before: Identity | None) -> None:
        """Do while the server starts what is needed right after, such as a new role's secrets."""
        await asyncio.to_thread(trusted.write, installation, self.context.directory)
        if before is None or before.id != self.context.id:
            await self.control.learn()

    async def _set_up(self, before: Identity | None) -> None:
        """Make the directory this branch's own: its password, its extensions.

        It is written down later (`_settle`): until then it would only be done again.
        """
        identity = Identity(self.context.id, self.config.extensions)
        self._unsettled = None if before == identity else identity
        if before is None:
            await self.control.make_application()
        elif before.id != identity.id:
            self._counted = Counted(**await self.control.take_over())
        known = before.extensions if before else ()
        missing = [each for each in identity.extensions if each not in known]
        if missing:
            await self.control.create_extensions(missing)
        if before is None or missing:
            self._counted = Counted(**await self.control.usage())

    async def _settle(self) -> None:
        """Write down that the set-up has been done, once the server serves."""
        if self._unsettled is None:
            return
        await self.control.flush()
        await asyncio.to_thread(records.write, self._usage_file, self._counted)
        await self._save_roles()
        await asyncio.to_thread(records.write, self._identity_file, self._unsettled, follows=True)
        self._unsettled = None

    def _archives(self, installation: install.Installation) -> bool:
        return self._retention_seconds > 0 and installation.has_module("basic_archive")

    def _configure(self, installation: install.Installation, extra: dict[str, str]) -> None:
        archive = None
        if self._archives(installation):
            archive = self.history.archive
            archive.mkdir(exist_ok=True)
        context = self.context
        name = str(context.ref)
        places = cluster.Places(self.data, context.run, archive)
        if journal_of(self.data).replicated:
            extra = {**following.SETTINGS, **extra}
        cluster.configure(installation, self.config, places, name, extra)

    async def _begin_following(self) -> None:
        """Receive what the server writes, if anybody stands by; commits wait for that."""
        context = self.context
        if not journal_of(self.data).replicated:
            return
        credential = await asyncio.to_thread(roles.superuser_credential, context.keys)
        receiver = following.Receiver(context.directory, context.run, context.log)
        self._receiving = asyncio.create_task(receiver.run(credential))

    def _hear(self, line: str) -> bool:
        """Count the sessions that begin; the server says so at once, in its log."""
        if "connection received: " in line or "connection authenticated: " in line:
            return True
        before, found, who = line.partition("connection authorized: user=")
        if found and before in _HEADS and not who.startswith(f"{roles.SUPERUSER} "):
            self.context.meter.add("sessions")
        return bool(found) and before in _HEADS

    async def _watch(self) -> None:
        """Meter, and write verifiers down when they change; start a server again that has died."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            try:
                if cluster.finish_waking(self.context.run):
                    self.server.reload()
                await self._settle()
                if not self.server.running:
                    self.context.log.error("PostgreSQL has died: %s", self.server.last_words)
                    await self.control.close()
                    if self._standby is not None:
                        await self._serve_standby()
                    else:
                        await self._serve(self.installation(), None)
                await self._collect()
                await self._save_roles()
            except (*CONNECTION_ERRORS, SkerryError):
                self.context.log.exception("the server does not answer")

    async def _keep_history(self) -> None:
        """Take base backups when they are due; one that fails is tried again later."""
        await asyncio.sleep(_FIRST_SECONDS)
        while True:
            given_up = await asyncio.to_thread(self.history.due) and not await self._back_up()
            await asyncio.sleep(_AGAIN_SECONDS if given_up else _HISTORY_SECONDS)

    async def _back_up(self) -> bool:
        """Take a base backup; return False if it was given up for a copy."""
        async with self._backing_up:
            try:
                await self.history.back_up(self.data, self.context.run, self.context.keys)
                self.context.log.info("a base backup is done; --at reaches every moment from it on")
            except InterruptedError:
                self.context.log.info("a base backup was given up for a copy; the next one is due")
                return False
            except CONNECTION_ERRORS:
                self.context.log.exception("a base backup failed")
        return True

    async def _save_roles(self) -> None:
        if not self._known:
            written = await asyncio.to_thread(roles.read, self.context.directory)
            if written is not None and written.id == self.context.id:
                self._known = written.verifiers
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
            await asyncio.to_thread(records.write, self._usage_file, counted)

    def _load_counted(self) -> None:
        """The server forgets its totals in a crash, and then counts from nought."""
        kept = (self.data / "pg_stat" / "pgstat.stat").exists()
        self._counted = (records.read(self._usage_file, Counted) if kept else None) or Counted()

    @property
    def _owner_file(self) -> Path:
        return self.context.directory / "owner.json"

    @property
    def _identity_file(self) -> Path:
        return self.context.directory / "identity.json"

    @property
    def _usage_file(self) -> Path:
        return self.context.directory / "usage.json"
