"""The stores that backups go to: what is known of them, and the connection to each."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.kernel.errors import INVALID, SkerryError
from skerry.node.backup import messages as m
from skerry.node.backup import object_lock, recovery_key, restic
from skerry.node.backup.destination import Destination, check
from skerry.node.backup.plan import PRIMARY, SECOND, STORES, BackupConfig
from skerry.node.backup.rate import Rate
from skerry.node.backup.repository import Repository
from skerry.node.backup.sealed import SealedStores, write_password
from skerry.node.backup.settings import Keeper, Settings

if TYPE_CHECKING:
    from skerry.node.node import Node


class Stores:
    """The primary and the second store of a node."""

    def __init__(self, node: Node, keeper: Keeper) -> None:
        self._node = node
        self._keeper = keeper
        self._folder: Path = keeper.folder
        self._repositories: dict[str, Repository] = {}
        self._rates: dict[tuple[tuple[str, int], int], Rate] = {}
        self.sealed = SealedStores(node, self.need, self._connect)

    @property
    def destinations(self) -> dict[str, Destination]:
        """What is decided, by the store's name."""
        return self._keeper.settings.stores

    @property
    def plan(self) -> BackupConfig:
        """What is planned for the whole node."""
        return self._keeper.settings.plan

    async def keep_plan(self, plan: BackupConfig) -> None:
        """Keep another plan."""
        settings = Settings(self._keeper.settings.stores, plan)
        await asyncio.to_thread(self._keeper.write, settings)

    def need(self, name: str) -> Destination:
        """Return a destination; raise CONFLICT with what to run if there is none."""
        return self._keeper.store(name)

    def wanted(self, params: m.To) -> tuple[str, Destination]:
        """Return which store somebody wants to set up, and how; raise INVALID, CONFLICT."""
        name = SECOND if params.second else PRIMARY
        if params.second:
            self.need(PRIMARY)
        return name, check(self._destination(params, name))

    async def take(self, name: str, destination: Destination) -> bool:
        """Use a destination from now on; tell whether nothing lay there yet.

        Raises what the store raises, and then all is as before.
        """
        if destination.lock_days:
            await asyncio.to_thread(object_lock.lock, destination, self._node.clock.now())
        repository = await self._connect(name, destination)
        try:
            made = await repository.create()
        except SkerryError:
            await asyncio.to_thread(self._restore_password, name)
            raise
        stores = {**self._keeper.settings.stores, name: destination}
        settings = Settings(stores, self._keeper.settings.plan)
        await asyncio.to_thread(self._keeper.write, settings)
        self._repositories[name] = repository
        return made

    async def repository(self, name: str) -> Repository:
        """Return a store's repository; raise INVALID for a name that is none, CONFLICT without."""
        if name not in STORES:
            raise INVALID(f"{name!r} is no store.", why=f"There are {' and '.join(STORES)}.")
        if name not in self._repositories:
            self._repositories[name] = await self._connect(name, self.need(name))
        return self._repositories[name]

    async def for_scope(self, name: str, scope: str) -> Repository:
        """Return where backups of a scope go at a store: the node's own, or that of an app's key.

        Raises STORE_UNREACHABLE while the key is locked.
        """
        return await self.sealed.of_scope(name, scope) or await self.repository(name)

    async def of_app(self, name: str, app: str) -> list[Repository]:
        """Return where backups of an app may lie at a store, the likeliest first."""
        return [*await self.sealed.of_app(name, app), await self.repository(name)]

    def _destination(self, params: m.To, name: str) -> Destination:
        return Destination(
            url=params.url,
            password=self._password(params, name),
            endpoint=params.endpoint,
            region=params.region,
            access_key=params.access_key.strip(),
            secret_key=params.secret_key.strip(),
            append_only=params.append_only,
            lock_days=_within(params.object_lock_days, 0, 36500, "object-lock-days"),
            pack_mib=_within(params.pack_mib, 4, 128, "pack-mib"),
            connections=_within(params.connections, 1, 64, "connections"),
            upload_kib_s=_within(params.upload_kib_s, 0, 1 << 30, "upload-kib-s"),
            requests_per_second=_within(
                params.requests_per_second, 0, 10_000, "requests-per-second"
            ),
            identity=params.identity,
            country=params.country,
            provider=params.provider,
            price=params.price,
        )

    def _password(self, params: m.To, name: str) -> str:
        """Return the password of backups at a place: from the key, as before, or a new one."""
        if params.key:
            known = recovery_key.decode(params.key)
            same = [each for each in known if each.url == params.url]
            return (same or known)[0].password
        before = self.destinations.get(name)
        return before.password if before and before.url == params.url else secrets.token_urlsafe(32)

    def _restore_password(self, name: str) -> None:
        before = self.destinations.get(name)
        if before is not None:
            self._keeper.write_password(name, before)

    async def _connect(self, name: str, destination: Destination) -> Repository:
        program = await restic.version(restic.find())
        password = await asyncio.to_thread(self._write_password, name, destination)
        places = restic.Places(password, self._folder / "cache" / name, self._folder / "tmp" / name)
        await asyncio.to_thread(places.make)
        engine = restic.Restic(program, destination, places, self._rate(destination))
        return Repository(engine, destination, self._node.clock)

    def _rate(self, destination: Destination) -> Rate | None:
        """Return the bound that all at one address share; None where none is wanted."""
        wanted, address = destination.requests_per_second, destination.address
        if not wanted or address is None:
            return None
        if (address, wanted) not in self._rates:
            self._rates[address, wanted] = Rate(wanted, self._node.clock)
        return self._rates[address, wanted]

    def _write_password(self, name: str, destination: Destination) -> Path:
        """Write the password's file; one that is derived from an app's key is in no backup."""
        if name in STORES:
            return self._keeper.write_password(name, destination)
        return write_password(self._folder, name, destination)


def _within(value: int, least: int, most: int, name: str) -> int:
    if not least <= value <= most:
        raise INVALID(f"--{name} is {least} to {most}, not {value}.")
    return value
