"""The two links of `skerry.market.link`: within this node, and over authenticated HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from skerry.kernel.clock import Clock, Entropy
from skerry.kernel.errors import ENGINE_FAILED, NODE_UNREACHABLE
from skerry.market.core.messages import AnyMessage
from skerry.market.core.names import LeaseId
from skerry.market.exchange import Exchange
from skerry.market.identity.keys import Wallet
from skerry.market.identity.tokens import Leases, Permission, lease_token, message_token
from skerry.market.link import Feed, LogLine, ServiceStatus
from skerry.market.provider.agent import Agent
from skerry.market.wires.client import check, request

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

    def __init__(self, url: str, wallet: Wallet, clock: Clock, entropy: Entropy) -> None:
        self.name = url.rstrip("/")
        self._wallet = wallet
        self._clock = clock
        self._entropy = entropy
        self._market = ""

    async def submit(self, message: AnyMessage) -> None:
        """See `MarketLink.submit`."""
        body = _encode(message)
        headers = await self._headers(body)
        check(await request("POST", self.name + MESSAGES_PATH, headers=headers, body=body))

    async def feed(self, after: int, seconds: float) -> Feed:
        """See `MarketLink.feed`."""
        body = _encode({"after": after, "seconds": seconds})
        answer = await request(
            "POST",
            self.name + FEED_PATH,
            headers=await self._headers(body),
            body=body,
            seconds=seconds + 30,
        )
        return msgspec.json.decode(check(answer), type=Feed)

    async def _headers(self, body: bytes) -> dict[str, str]:
        if not self._market:
            answer = check(await request("GET", self.name + ADDRESS_PATH))
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

    async def run(
        self, lease: LeaseId, service: str, command: tuple[str, ...], stdin: bytes
    ) -> tuple[int, bytes, bytes]:
        """See `ProviderLink.run`."""
        return await self._agent.runner.run(lease, service, command, stdin)


class RemoteProvider:
    """The provider of another node, by Akash's own dialect.

    Its tokens are good at this provider alone: one that it passes on opens nothing elsewhere.
    """

    def __init__(self, url: str, address: str, wallet: Wallet, clock: Clock) -> None:
        self._url = url.rstrip("/")
        self._only = Leases("granular", permissions=[Permission(address, "full")])
        self._wallet = wallet
        self._clock = clock

    def _headers(self) -> dict[str, str]:
        token = lease_token(self._wallet, self._clock, self._only)
        return {"Authorization": f"Bearer {token}"}

    def _lease(self, lease: LeaseId) -> str:
        return f"{self._url}/lease/{lease.dseq}/{lease.gseq}/{lease.oseq}"

    async def send_manifest(self, lease: LeaseId, manifest: list[dict[str, Any]]) -> None:
        """See `ProviderLink.send_manifest`."""
        url = f"{self._url}/deployment/{lease.dseq}/manifest"
        headers = {**self._headers(), "Content-Type": "application/json"}
        check(await request("PUT", url, headers=headers, body=_encode(manifest), seconds=120))

    async def status(self, lease: LeaseId) -> list[ServiceStatus]:
        """See `ProviderLink.status`."""
        answer = await request("GET", f"{self._lease(lease)}/status", headers=self._headers())
        found = msgspec.json.decode(check(answer))
        ports = found.get("forwarded_ports") or {}
        return [
            ServiceStatus(
                name=name,
                state=each.get("state", ""),
                wanted=each["total"],
                ready=each["available"],
                uris=tuple(each.get("uris") or ()),
                ports=tuple(
                    (p["port"], f"{p['host']}:{p['externalPort']}") for p in ports.get(name, ())
                ),
                detail=each.get("detail", ""),
            )
            for name, each in found["services"].items()
        ]

    async def logs(
        self, lease: LeaseId, service: str, lines: int, follow: bool
    ) -> AsyncIterator[LogLine]:
        """See `ProviderLink.logs`."""
        query = urlencode({"follow": str(follow).lower(), "tail": lines, "service": service})
        url = f"{_socket(self._lease(lease))}/logs?{query}"
        try:
            async with connect(
                url, additional_headers=self._headers(), max_size=FRAME_BYTES_MAX
            ) as socket:
                async for frame in socket:
                    found = msgspec.json.decode(frame)
                    yield LogLine(found["name"], found.get("stream", "stdout"), found["message"])
        except ConnectionClosed:
            return
        except InvalidStatus as error:
            raise _refused(error) from error
        except OSError as error:
            raise NODE_UNREACHABLE("The provider does not answer.", why=str(error)) from error

    async def run(
        self, lease: LeaseId, service: str, command: tuple[str, ...], stdin: bytes
    ) -> tuple[int, bytes, bytes]:
        """See `ProviderLink.run`."""
        words = "".join(f"&cmd{n}={quote(each, safe='')}" for n, each in enumerate(command))
        wanted = "1" if stdin else "0"
        query = f"service={quote(service)}&tty=0&stdin={wanted}&podIndex=0{words}"
        out, errors = bytearray(), bytearray()
        try:
            async with connect(
                f"{_socket(self._lease(lease))}/shell?{query}",
                additional_headers=self._headers(),
                max_size=FRAME_BYTES_MAX,
            ) as socket:
                if stdin:
                    await socket.send(bytes([104]) + stdin)
                    await socket.send(bytes([104]))
                async for frame in socket:
                    assert isinstance(frame, bytes)
                    kind, data = frame[0], frame[1:]
                    if kind in (102, 103):
                        return _shell_end(kind, data), bytes(out), bytes(errors)
                    (out if kind == 100 else errors).extend(data)
        except InvalidStatus as error:
            raise _refused(error) from error
        except (OSError, ConnectionClosed) as error:
            raise NODE_UNREACHABLE("The provider went away.", why=str(error)) from error
        raise ENGINE_FAILED("The shell ended without a result.")


def _socket(url: str) -> str:
    return url.replace("http", "ws", 1)


def _refused(error: InvalidStatus) -> Exception:
    body = (error.response.body or b"")[:300].decode(errors="replace")
    return ENGINE_FAILED(f"The provider answered {error.response.status_code}.", why=body)


def _shell_end(kind: int, data: bytes) -> int:
    """Return the exit status that a shell's last frame tells; raise what it tells instead."""
    found = msgspec.json.decode(data) if data else {}
    if kind == 103 or found.get("message"):
        raise ENGINE_FAILED("The command did not run.", why=str(found.get("message", ""))[:300])
    status: int = found.get("exit_code", 0)
    return status
