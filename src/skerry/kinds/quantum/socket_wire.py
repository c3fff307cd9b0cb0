"""Lines of JSON over a unix socket: how bindings in functions reach the engine.

    {"do": "submit", "params": {…}}   →   {"result": {…}}   or   {"error": {"code": …}}

Only processes that the resource is bound to see the socket's folder.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.errors import INVALID, SkerryError
from skerry.kinds.quantum.contract import JobRequest
from skerry.kinds.quantum.desk import Desk

LINE_BYTES_MAX = 64 << 20
WAIT_SECONDS_MAX = 60.0
_FILE = "jobs.sock"


class SocketWire:
    """Serves the desk to bindings."""

    def __init__(self, desk: Desk, run: Path) -> None:
        self._desk = desk
        self.path = run / _FILE
        self._server: asyncio.Server | None = None
        self.waiting = 0

    async def start(self) -> None:
        """Listen."""
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(
            self._serve, str(self.path), limit=LINE_BYTES_MAX
        )

    async def stop(self) -> None:
        """Listen no more."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.waiting += 1
        try:
            line = await reader.readline()
            if line:
                writer.write(msgspec.json.encode(await self._answer(line)) + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError) as error:
            self._desk.context.log.warning("a binding went away: %s", error)
        finally:
            self.waiting -= 1
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            call = msgspec.json.decode(line)
            return {"result": await self._do(call["do"], call["params"])}
        except SkerryError as error:
            return {"error": error.as_dict()}
        except (msgspec.MsgspecError, KeyError, TypeError) as error:
            return {"error": INVALID("The call is malformed.", why=str(error)).as_dict()}

    async def _do(self, what: str, params: dict[str, Any]) -> Any:
        if what == "submit":
            return await self._desk.submit(msgspec.convert(params, JobRequest))
        name = str(params["job"])
        if what == "job":
            return await self._desk.job(name)
        if what == "wait":
            return await self._desk.wait(name, min(float(params["seconds"]), WAIT_SECONDS_MAX))
        if what == "results":
            return await self._desk.results(name)
        if what == "cancel":
            return await self._desk.cancel(name)
        raise INVALID(f"There is no call {what!r}.")
