"""The two links of `skerry.market.link`: within this node, and over signed HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from skerry.kernel.clock import Clock, Entropy
from skerry.kernel.errors import NODE_UNREACHABLE
from skerry.market.core.entities import Provider
from skerry.market.core.messages import AnyMessage
from skerry.market.core.names import LeaseId
from skerry.market.exchange import Exchange
from skerry.market.identity.keys import Wallet
from skerry.market.identity.tokens import Leases, Permission, lease_token, message_token
from skerry.market.link import Feed, LogLine, ServiceStatus, Session
from skerry.market.provider.agent import Agent
from skerry.market.ways import Way, Ways
from skerry.market.wires.client import ANSWER_SECONDS, Answer, check, refused, request
from skerry.market.wires.remote_session import RemoteSession

MESSAGES_PATH = "/market/v1/messages"
FEED_PATH = "/market/v1/feed"
ADDRESS_PATH = "/market/v1/address"
FRAME_BYTES_MAX = 1 << 20
_encode = msgspec.json.Encoder().encode


class LocalMarket:
    """The market of this very node."""

    def __init__(self, exchange: Exchange, signer: str) -> None:
        self.name = "local"
        self._exchange = exchange
        self._signer = signer

    async def submit(self, message: AnyMessage) -> None:
        """See `MarketLink.submit`."""
        await self._exchange.submit(self._signer, message)

    async def feed(self, after: int, seconds: float) -> Feed:
        """See `MarketLink.feed`."""
        return await self._exchange.feed(self._signer, after, seconds)


class RemoteMarket:
    """The market of another node; every request is signed, and good once."""

    def __init__(
        self, url: str, wallet: Wallet, clock: Clock, entropy: Entropy, ways: Ways
    ) -> None:
        self.name = url.rstrip("/")
        self._wallet = wallet
        self._clock = clock
        self._entropy = entropy
        self._ways = ways
        self._market = ""

    async def submit(self, message: AnyMessage) -> None:
        """See `MarketLink.submit`."""
        await self._post(MESSAGES_PATH, _encode(message), ANSWER_SECONDS)

    async def feed(self, after: int, seconds: float) -> Feed:
        """See `MarketLink.feed`."""
        body = _encode({"after": after, "seconds": seconds})
        answer = await self._post(FEED_PATH, body, seconds + 30)
        return msgspec.json.decode(answer, type=Feed)

    async def _post(self, path: str, body: bytes, seconds: float) -> bytes:
        way = await self._ways.to(self.name)
        headers = await self._headers(way, body)
        answer = await request(
            "POST", way.url + path, headers=headers, body=body, seconds=seconds, tunnel=way.tunnel
        )
        return check(answer)

    async def _headers(self, way: Way, body: bytes) -> dict[str, str]:
        if not self._market:
            answer = check(await request("GET", way.url + ADDRESS_PATH, tunnel=way.tunnel))
            self._market = msgspec.json.decode(answer, type=dict[str, str])["address"]
        token = message_token(self._wallet, self._clock, self._entropy, self._market, body)
        return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


class LocalProvider:
    """The provider of this very node."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def send_manifest(self, lease: LeaseId, manifest: list[dict[str, Any]]) -> None:
        """See `ProviderLink.send_manifest`."""
        await self._agent.take_manifest(lease, manifest)

    async def status(self, lease: LeaseId) -> list[ServiceStatus]:
        """See `ProviderLink.status`."""
        _, group = self._agent.lease(lease)
        return await self._agent.runner.status(lease, group)

    def logs(
        self, lease: LeaseId, service: str, lines: int, follow: bool
    ) -> AsyncIterator[LogLine]:
        """See `ProviderLink.logs`."""
        return self._agent.runner.logs(lease, service, lines, follow)

    async def session(
        self,
        lease: LeaseId,
        service: str,
        command: tuple[str, ...],
        terminal: tuple[int, int] | None,
    ) -> Session:
        """See `ProviderLink.session`."""
        return await self._agent.runner.session(lease, service, command, terminal=terminal)


class RemoteProvider:
    """The provider of another node, by Akash's own dialect.

    Its tokens are good at this provider alone: one that it passes on opens nothing elsewhere.
    """

    def __init__(self, provider: Provider, wallet: Wallet, clock: Clock, ways: Ways) -> None:
        self._provider = provider
        self._only = Leases("granular", permissions=[Permission(provider.address, "full")])
        self._wallet = wallet
        self._clock = clock
        self._ways = ways

    def _headers(self) -> dict[str, str]:
        token = lease_token(self._wallet, self._clock, self._only)
        return {"Authorization": f"Bearer {token}"}

    async def _way(self) -> Way:
        return await self._ways.to(self._provider.url.rstrip("/"), self._provider.node)

    async def _ask(
        self, method: str, path: str, body: bytes = b"", seconds: float = ANSWER_SECONDS
    ) -> Answer:
        way = await self._way()
        headers = {**self._headers(), "Content-Type": "application/json"}
        return await request(
            method, way.url + path, headers=headers, body=body, seconds=seconds, tunnel=way.tunnel
        )

    async def _socket(self, lease: LeaseId, path: str) -> ClientConnection:
        """Open a WebSocket below a lease."""
        way = await self._way()
        url = (way.url + _path(lease) + path).replace("http", "ws", 1)
        common: dict[str, Any] = {
            "additional_headers": self._headers(),
            "max_size": FRAME_BYTES_MAX,
        }
        try:
            if way.tunnel:
                return await unix_connect(way.tunnel, url, **common)
            return await connect(url, **common)
        except InvalidStatus as error:
            response = error.response
            raise refused(response.status_code, bytes(response.body or b"")) from error
        except (OSError, TimeoutError, WebSocketException) as error:
            raise NODE_UNREACHABLE("The provider does not answer.", why=str(error)) from error

    async def send_manifest(self, lease: LeaseId, manifest: list[dict[str, Any]]) -> None:
        """See `ProviderLink.send_manifest`."""
        path = f"/deployment/{lease.dseq}/manifest"
        check(await self._ask("PUT", path, _encode(manifest), seconds=120))

    async def status(self, lease: LeaseId) -> list[ServiceStatus]:
        """See `ProviderLink.status`."""
        answer = await self._ask("GET", f"{_path(lease)}/status")
        found = msgspec.json.decode(check(answer))
        ports = found.get("forwarded_ports") or {}
        return [
            ServiceStatus(
                name=name,
                state=each.get("state", ""),
                wanted=each["total"],
                ready=each["available"],
                uris=tuple(each.get("uris") or ()),
                ports=tuple(map(_port, ports.get(name, ()))),
                detail=each.get("detail", ""),
            )
            for name, each in found["services"].items()
        ]

    async def logs(
        self, lease: LeaseId, service: str, lines: int, follow: bool
    ) -> AsyncIterator[LogLine]:
        """See `ProviderLink.logs`."""
        query = urlencode({"follow": str(follow).lower(), "tail": lines, "service": service})
        async with await self._socket(lease, f"/logs?{query}") as socket:
            with contextlib.suppress(ConnectionClosed):
                async for frame in socket:
                    found = msgspec.json.decode(frame)
                    yield LogLine(found["name"], found.get("stream", "stdout"), found["message"])

    async def session(
        self,
        lease: LeaseId,
        service: str,
        command: tuple[str, ...],
        terminal: tuple[int, int] | None,
    ) -> Session:
        """See `ProviderLink.session`."""
        words = "".join(f"&cmd{n}={quote(each, safe='')}" for n, each in enumerate(command))
        tty = "1" if terminal else "0"
        query = f"service={quote(service)}&tty={tty}&stdin=1&podIndex=0{words}"
        session = RemoteSession(await self._socket(lease, f"/shell?{query}"))
        if terminal:
            session.resize(*terminal)
        return session


def _port(found: dict[str, Any]) -> tuple[int, str, str]:
    address = f"{found['host']}:{found['externalPort']}"
    return found["port"], address, str(found.get("proto", "TCP")).lower()


def _path(lease: LeaseId) -> str:
    return f"/lease/{lease.dseq}/{lease.gseq}/{lease.oseq}"
