"""The engine of a ledger: it opens the keeper, listens for functions and for the front."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.app import parse_duration
from skerry.kernel.errors import CONFIG_INVALID, INVALID
from skerry.kernel.kind import Context, Engine
from skerry.kinds.ledger import transfer, words
from skerry.kinds.ledger.address import cluster_id
from skerry.kinds.ledger.book import MACHINES
from skerry.kinds.ledger.history import as_text
from skerry.kinds.ledger.keeper import Keeper
from skerry.kinds.ledger.local import LocalServer
from skerry.kinds.ledger.manifest import (
    AccountsParams,
    BalancesParams,
    LedgerConfig,
    OpenParams,
    Outcome,
    Row,
    TransferParams,
    TransfersParams,
)
from skerry.kinds.ledger.operations import SHAPES
from skerry.kinds.ledger.questions import Questions
from skerry.kinds.ledger.tiger.server import Connection, Server

SOCKET = "tigerbeetle.sock"
EXPIRE_SECONDS = 1.0


class LedgerEngine(Engine):
    """Serves one ledger."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        config = msgspec.convert(context.config, LedgerConfig)
        if config.machine not in MACHINES:
            raise CONFIG_INVALID(
                f"A ledger's machine is one of {', '.join(MACHINES)}, not {config.machine!r}."
            )
        self.keeper = Keeper(
            context.directory,
            context.clock,
            meter=context.meter,
            machine=config.machine,
            retention_seconds=parse_duration(config.retention),
        )
        self._local = LocalServer(self.keeper)
        self._tiger = Server(self.keeper, cluster_id(context.id, context.keys))
        self._listener: asyncio.Server | None = None
        self._expirer: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the ledger, making it if there is none."""
        await asyncio.to_thread(self.keeper.open)
        await self._local.start(self.context.run)
        path = self.context.run / SOCKET
        path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_unix_server(lambda: Connection(self._tiger), str(path))
        path.chmod(0o600)
        self._expirer = asyncio.create_task(self._expire())

    async def stop(self) -> None:
        """Finish what is on its way and close the log."""
        if self._expirer is not None:
            self._expirer.cancel()
            await asyncio.gather(self._expirer, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
        self._tiger.close()
        await self._local.stop()
        await asyncio.to_thread(self.keeper.close)

    async def endpoint(self) -> str:
        """Return the path of the socket that speaks TigerBeetle's protocol."""
        return str(self.context.run / SOCKET)

    async def busy(self) -> str:
        """Return why it must stay awake."""
        return "a function asks it" if self._local.under_way else ""

    async def freeze(self, atomic: bool) -> None:
        """Let nothing be written."""
        await asyncio.to_thread(self.keeper.hold)

    async def thaw(self) -> None:
        """Let writing go on."""
        self.keeper.release()

    async def export(self, target: Path) -> None:
        """Write accounts, transfers and their history as NDJSON."""
        await asyncio.to_thread(self.keeper.look, lambda book: transfer.export(book, target))

    async def restore(self, source: Path) -> None:
        """Replace everything by an export."""
        rows, timestamp = await asyncio.to_thread(transfer.read, source)
        await asyncio.to_thread(self.keeper.replace, rows, timestamp)

    async def status(self) -> dict[str, Any]:
        """Return which machine runs it, what it holds and its state's digest."""
        return await asyncio.to_thread(self.keeper.look, self._describe)

    async def count(self) -> dict[str, int]:
        """See `Engine.count`."""
        return await asyncio.to_thread(
            self.keeper.look,
            lambda book: {
                "accounts": book.account_count(),
                "transfers": book.count("transfers"),
            },
        )

    def _describe(self, book: Any) -> dict[str, Any]:
        return {
            "machine": book.name,
            "accounts": book.account_count(),
            "transfers": book.count("transfers"),
            "timestamp": book.timestamp,
            "digest": f"{book.digest:016x}",
            "log_records": self.keeper.journal.sequence,
            "log_bytes": self.keeper.journal.bytes,
            "reaches_back_to": as_text(self.keeper.history.since(self.keeper.journal) or 0),
        }

    @property
    def questions(self) -> Questions:
        """The ledger as Python calls it."""
        return Questions(self.carry)

    async def carry(self, operation: int, body: bytes) -> bytes:
        """Carry out a request that is packed as in TigerBeetle's protocol; see `Keeper.submit`."""
        if operation not in SHAPES:
            raise INVALID(f"There is no operation {operation}.")
        return (await self.keeper.submit(operation, body)).body

    async def _expire(self) -> None:
        """Expire pending transfers soon after they time out, even if nobody asks."""
        while True:
            await asyncio.sleep(EXPIRE_SECONDS)
            with contextlib.suppress(OSError):
                await self.keeper.expire()

    async def word_accounts(self, params: AccountsParams) -> list[Row]:
        """List accounts."""
        return await words.accounts(self.questions, params)

    async def word_transfers(self, params: TransfersParams) -> list[Row]:
        """List transfers."""
        return await words.transfers(self.questions, params)

    async def word_balances(self, params: BalancesParams) -> list[Row]:
        """Show the balances of an account."""
        return await words.balances(self.questions, params)

    async def word_open(self, params: OpenParams) -> Outcome:
        """Create an account."""
        return await words.open_account(self.questions, params)

    async def word_transfer(self, params: TransferParams) -> Outcome:
        """Create a transfer."""
        return await words.transfer(self.questions, params, self.context.clock.now())
