"""The router: it listens, admits clients, and holds what they use awake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from skerry.kernel.clock import Clock
from skerry.kernel.errors import NODE_UNREACHABLE, TIMED_OUT, SkerryError
from skerry.node.cell.spec import http_socket
from skerry.node.cells import Running
from skerry.node.router.client import Client
from skerry.node.router.gates import Gates
from skerry.node.router.head import RequestHead
from skerry.node.router.hold import Hold
from skerry.node.router.targets import NODE, Target, Targets
from skerry.node.router.upstream import Pool
from skerry.node.supervisor import Supervisor

CONNECTIONS_MAX = 10_000
LOOKED_AT_MAX = 64
"""How many connections are looked at for an idle one when there is no room for another."""
WAKE_SECONDS = 60.0


class Router:
    """Serves HTTP for every app of a node, and for the node itself."""

    def __init__(
        self,
        *,
        targets: Targets,
        gates: Gates,
        supervisor: Supervisor,
        run: Path,
        node_socket: Path,
        domain: str,
        clock: Clock,
        proxies: frozenset[bytes] = frozenset(),
    ) -> None:
        self._targets = targets
        self._gates = gates
        self.pool = Pool()
        self.draining = False
        self.domain = domain
        self.proxies = proxies
        self._supervisor = supervisor
        self._run = str(run)
        self._node_socket = str(node_socket)
        self._clock = clock
        self._elsewhere: Callable[[str], str] = _nowhere
        self._clients: dict[asyncio.BaseProtocol, None] = {}
        self._server: asyncio.Server | None = None
        self._find_running: Callable[[str, str, str], Running | None] = supervisor.running

    def lead_elsewhere(self, path: Callable[[str], str]) -> None:
        """Name what finds the unix socket that leads to another node; it raises SkerryError."""
        self._elsewhere = path

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port, which is chosen by the system if it was 0."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Client(self), host, port, backlog=1024, reuse_address=True
        )
        return int(self._server.sockets[0].getsockname()[1])

    def find(self, head: RequestHead) -> Target:
        """See `Switchboard.find`."""
        return self._targets.find(head)

    def admit(self, client: asyncio.BaseProtocol) -> bool:
        """Note a client; refuse it if there are too many that do something.

        An idle connection gives way, the one that came first: else whoever opens many and asks
        nothing, an app of this node perhaps, would shut everybody out.
        """
        if self.draining or (len(self._clients) >= CONNECTIONS_MAX and not self._make_room()):
            return False
        self._clients[client] = None
        return True

    def _make_room(self) -> bool:
        """Close an idle connection; those found at work are looked at last the next time."""
        for each in list(islice(self._clients, LOOKED_AT_MAX)):
            del self._clients[each]
            if isinstance(each, Client) and each.idle:
                each.abort()
                return True
            self._clients[each] = None
        return False

    def gone(self, client: asyncio.BaseProtocol) -> None:
        """Forget a client."""
        self._clients.pop(client, None)

    def connections(self) -> int:
        """Return how many clients are connected."""
        return len(self._clients)

    def hold(self, target: Target) -> Hold | None:
        """Hold a target that is awake; None if it must be woken first."""
        if target.node:
            return Hold(self._elsewhere(target.node), None, elsewhere=True)
        if target.app == NODE:
            return Hold(self._node_socket, None)
        if target.socket:
            return Hold(target.socket, None)
        running = self._find_running(target.app, target.branch, target.resource)
        return None if running is None else self._hold(running, target)

    async def knock(self, target: Target, line: bytes) -> None:
        """See `Switchboard.knock`."""
        await self._gates.knock(target, line)

    async def wake(self, target: Target) -> Hold:
        """Wake a target, once for all who wait, and hold it."""
        if target.socket:
            return Hold(target.socket, None)
        try:
            async with asyncio.timeout(WAKE_SECONDS):
                running = await self._supervisor.wake(target.app, target.branch, target.resource)
        except TimeoutError as error:
            raise TIMED_OUT(f"{target.app}/{target.branch} did not wake in time.") from error
        except SkerryError:
            node = self._targets.node_of(target.app, target.branch, target.resource)
            if not node:
                raise
            return Hold(self._elsewhere(node), None, elsewhere=True)
        return self._hold(running, target)

    def _hold(self, running: Running, target: Target) -> Hold:
        running.holds += 1
        resource_id = running.resources[target.resource]
        return Hold(http_socket(f"{self._run}/{resource_id}", running.instance), running)

    def leaving(self, running: Running) -> None:
        """Close idle connections to a process that is told to go."""
        for resource_id in running.resources.values():
            self.pool.drop(http_socket(f"{self._run}/{resource_id}", running.instance))

    async def stop(self, seconds: float = 10.0) -> None:
        """Accept nothing more; let what is in flight finish for a while."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        for client in list(self._clients):
            if isinstance(client, Client):
                client.drain()
        deadline = self._clock.monotonic() + seconds
        while self._clients and self._clock.monotonic() < deadline:
            await asyncio.sleep(0.02)
        for client in list(self._clients):
            if isinstance(client, Client):
                client.abort()


def _nowhere(node: str) -> str:
    raise NODE_UNREACHABLE(f"This node does not reach {node}.", hint="skerry nodes")
