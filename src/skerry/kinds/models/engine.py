"""The engine of a models resource: its state, its keys, its routes and its model servers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skerry.kernel.errors import CONFLICT, EXTRA_MISSING, INVALID, NOT_FOUND
from skerry.kernel.kind import Context, Engine
from skerry.kinds._shared.sqlite_state import WriterHold, disk_bytes
from skerry.kinds.models import manifest as m
from skerry.kinds.models.claim import secret_key
from skerry.kinds.models.gateway.background import Background
from skerry.kinds.models.gateway.failure import FailureError
from skerry.kinds.models.gateway.keyring import Keyring
from skerry.kinds.models.gateway.profiles import profiles
from skerry.kinds.models.gateway.routes import Routes
from skerry.kinds.models.local.servers import ModelServers
from skerry.kinds.models.state import aliases, calls, keys, transfer
from skerry.kinds.models.state.database import FILE, Database

if TYPE_CHECKING:
    from skerry.kinds.models.gateway.gateway import Gateway


def _gateway() -> type[Gateway]:
    """Return the gateway's class; raise EXTRA_MISSING if its HTTP client is not installed."""
    try:
        from skerry.kinds.models.gateway.gateway import Gateway  # noqa: PLC0415 - see above
    except ImportError as error:
        raise EXTRA_MISSING(
            "Models need the extra `models`.", why=str(error), hint='pip install "skerry[models]"'
        ) from error
    return Gateway


class ModelsEngine(Engine):
    """Serves one gateway."""

    gateway: Gateway

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.database = Database(context.directory)
        self.keyring = Keyring(self.database)
        self.servers = ModelServers(context)
        self.background = Background()
        self._hold = WriterHold(context.directory / FILE)

    async def start(self) -> None:
        """Open the state and read what is known; no provider is called."""
        self.routes = Routes(self.context.config)
        await self.database.open()
        now = self.context.clock.now()
        await self.database.do(lambda db: keys.ensure_own(db, now))
        await self.keyring.load()
        self.routes.set_aliases(await self.database.do(aliases.everything))
        self.gateway = _gateway()(
            self.context, self.database, self.keyring, self.routes, self.servers.socket
        )

    async def stop(self) -> None:
        """End model servers, give back what leases have left, and close the file."""
        await self.background.close()
        if hasattr(self, "gateway"):
            await self.gateway.close()
        await self.servers.close()
        if self.database.is_open:
            await self.keyring.settle_leases()
            await self.database.close()

    async def busy(self) -> str:
        """Say that responses are made in the background, if any are."""
        return f"{len(self.background)} responses in the background" if self.background else ""

    async def freeze(self, atomic: bool) -> None:
        """Hold off writers."""
        await asyncio.to_thread(self._hold.hold)

    async def thaw(self) -> None:
        """Let writers go on."""
        await asyncio.to_thread(self._hold.release)

    async def export(self, target: Path) -> None:
        """Write keys, what they used, aliases, the log and responses as NDJSON."""
        await self.database.do(lambda db: transfer.export(db, target))

    async def restore(self, source: Path) -> None:
        """Replace all of them by an export."""
        rows = await asyncio.to_thread(transfer.read, source)
        await self.database.do(lambda db: transfer.replace(db, rows))
        await self.keyring.load()
        self.routes.set_aliases(await self.database.do(aliases.everything))

    async def status(self) -> dict[str, Any]:
        """Return what is configured, what was answered, and how large the state is."""
        totals = await self.database.do(calls.totals)
        return {
            "keys": sum(1 for each in self.keyring.everything() if each.key.revoked is None),
            "aliases": sorted(self.routes.aliases),
            "local": self.servers.running(),
            **totals,
            "bytes": disk_bytes(self.context.directory / FILE),
        }

    async def make_key(self, params: m.KeyCreate) -> m.MadeKey:
        """Make a key and return it with its secret, which can be shown again at any time."""
        limits = m.limits_of(params)
        now = self.context.clock.now()
        key = await self.database.do(
            lambda db: keys.create(db, params.key, limits, params.note, now)
        )
        self.keyring.put(key)
        secret = secret_key(self.context.id, key.number, self.context.keys)
        return m.MadeKey(key.name, secret, f"{self.context.url}/v1")

    async def revoke_key(self, name: str) -> None:
        """End a key; calls that run with it are finished."""
        now = self.context.clock.now()
        self.keyring.put(await self.database.do(lambda db: keys.revoke(db, name, now)))

    def list_keys(self) -> list[m.KeyInfo]:
        """Return every key with what is left of its limits."""
        now = self.context.clock.now()
        return [m.key_info(state, now) for state in self.keyring.everything()]

    async def word_key_create(self, params: m.KeyCreate) -> m.MadeKey:
        """Carry out `skerry models key-create`."""
        return await self.make_key(params)

    async def word_key_limit(self, params: m.KeyCreate) -> m.KeyInfo:
        """Carry out `skerry models key-limit`."""
        limits = m.limits_of(params)
        key = await self.database.do(lambda db: keys.limit(db, params.key, limits))
        self.keyring.put(key)
        return next(each for each in self.list_keys() if each.key == key.name)

    async def word_key_revoke(self, params: m.KeyNamed) -> m.Changed:
        """Carry out `skerry models key-revoke`."""
        await self.revoke_key(params.key)
        return m.Changed(f"The key {params.key} is revoked.")

    async def word_key_list(self, params: m.Nothing) -> list[m.KeyInfo]:
        """Carry out `skerry models key-list`."""
        return self.list_keys()

    async def word_alias_set(self, params: m.AliasSet) -> m.Changed:
        """Carry out `skerry models alias-set`."""
        targets = [each.strip() for each in params.targets.split(",") if each.strip()]
        self._may_change(params.alias)
        for target in targets:
            self._check_target(target)
        await self.database.do(lambda db: aliases.put(db, params.alias, targets))
        self.routes.set_aliases(await self.database.do(aliases.everything))
        return m.Changed(f"{params.alias} is {', else '.join(targets)}.")

    async def word_alias_delete(self, params: m.AliasNamed) -> m.Changed:
        """Carry out `skerry models alias-delete`."""
        self._may_change(params.alias)
        if not await self.database.do(lambda db: aliases.delete(db, params.alias)):
            raise NOT_FOUND(f"There is no alias {params.alias!r}.", hint="skerry models alias-list")
        self.routes.set_aliases(await self.database.do(aliases.everything))
        return m.Changed(f"The alias {params.alias} is gone.")

    def _check_target(self, name: str) -> None:
        try:
            self.routes.find(name)
        except FailureError as error:
            raise NOT_FOUND(error.message, hint="skerry models providers") from error

    def _may_change(self, alias: str) -> None:
        if self.routes.is_declared(alias):
            raise CONFLICT(
                f"The alias {alias} is declared in skerry.toml.", hint="Change it there and deploy."
            )
        if alias in self.context.config.local or "/" in alias:
            raise INVALID(f"{alias!r} names a model and cannot be an alias.")

    async def word_alias_list(self, params: m.Nothing) -> list[m.AliasInfo]:
        """Carry out `skerry models alias-list`."""
        return [
            m.AliasInfo(name, tuple(targets), declared=self.routes.is_declared(name))
            for name, targets in sorted(self.routes.aliases.items())
        ]

    async def word_log(self, params: m.LogParams) -> list[m.CallInfo]:
        """Carry out `skerry models log`."""
        found = await self.database.do(lambda db: calls.latest(db, params.lines))
        names = {state.key.number: state.key.name for state in self.keyring.everything()}
        return [m.call_info(each, names) for each in found]

    async def word_providers(self, params: m.Nothing) -> list[m.ProviderInfo]:
        """Carry out `skerry models providers`."""
        known, secrets = profiles(), self.context.secrets
        return [
            m.provider_info(each, known.get(each.name), has_key=each.secret in secrets)
            for each in self.routes.providers.values()
        ]

    async def word_ask(self, params: m.AskParams) -> list[m.Compared]:
        """Carry out `skerry models ask`: one prompt, one or several models, side by side."""
        from skerry.kinds.models.comparing import compare  # noqa: PLC0415 - only for this word

        return await compare(self.gateway, self.context.clock, params)
