"""The residency audit: what a server holds and whom it is connected to, read back from itself.

Settings say what was wanted; what the servers answer says what is. Bytes and subjects come from
JetStream's own account of its files, connections from the sockets that the server has open.
"""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.federation.bus.catalogues import NO_APP
from skerry.federation.bus.client import Client
from skerry.federation.bus.held import Connection, Held, HeldStream
from skerry.federation.bus.plan import Accounts
from skerry.federation.bus.register import STREAM as LEASES
from skerry.federation.bus.register import name_of
from skerry.federation.bus.streams import holders
from skerry.kernel.errors import NOT_FOUND, SkerryError

CONNECTIONS_MAX = 1024
SUBJECTS_MAX = 10_000


async def read_back(
    system: Client, inside: Client | None, accounts: Accounts, name: str, jurisdiction: str
) -> Held:
    """Ask a server what it holds and whom it is connected to; raise STORE_UNREACHABLE."""
    ask = _Asking(system, name)
    store = await ask("JSZ", {"accounts": True, "streams": True})
    data = store["data"]
    streams = [
        stream
        for account in data.get("account_details") or ()
        for stream in account.get("stream_detail") or ()
    ]
    held = [await _stream(inside, name, each) for each in streams]
    return Held(
        node=name,
        jurisdiction=jurisdiction,
        bytes=data.get("storage", 0) + data.get("memory", 0),
        streams=tuple(held),
        connections=tuple(await _connections(ask, accounts)),
    )


async def counted(system: Client, name: str) -> tuple[str, ...]:
    """Return the other servers that a server counts in its cluster, there or not."""
    store = await _Asking(system, name)("JSZ", {})
    cluster = store["data"].get("meta_cluster") or {}
    return tuple(each["name"] for each in cluster.get("replicas") or ())


class _Asking:
    """Asks one server, by its name."""

    def __init__(self, system: Client, name: str) -> None:
        self._system = system
        self._filter = {"server_name": name, "exact_match": True}

    async def __call__(self, what: str, options: dict[str, Any]) -> dict[str, Any]:
        body = msgspec.json.encode({**options, **self._filter})
        answer = await self._system.request(f"$SYS.REQ.SERVER.PING.{what}", body)
        found: dict[str, Any] = msgspec.json.decode(answer.data)
        return found


async def _stream(inside: Client | None, name: str, found: dict[str, Any]) -> HeldStream:
    state = found["state"]
    subjects: dict[str, int] = {}
    if inside is not None and state["messages"]:
        try:
            info = await inside.api(f"STREAM.INFO.{found['name']}", {"subjects_filter": ">"})
            subjects = info["state"].get("subjects") or {}
        except SkerryError as error:
            if error.problem is not NOT_FOUND:
                raise
    return HeldStream(
        name=found["name"],
        bytes=state["bytes"],
        messages=state["messages"],
        copies=tuple(sorted({name, *holders(found)})),  # a follower leaves itself out
        apps=tuple(sorted({app_of(found["name"], each) for each in subjects} - {NO_APP})),
    )


def app_of(stream: str, subject: str) -> str:
    """Return the app that a message is about, from its subject."""
    if stream == LEASES.name:
        return name_of(subject).partition("/")[0]
    return subject.rpartition(".")[2]


async def _connections(ask: _Asking, accounts: Accounts) -> list[Connection]:
    found = []
    routes = (await ask("ROUTEZ", {}))["data"].get("routes") or ()
    found += [_connection("member", each["remote_name"], each, "inside") for each in routes]
    leaves = (await ask("LEAFZ", {}))["data"].get("leafs") or ()
    found += [
        _connection("abroad", each["name"], each, accounts.sort_of(each["account"]))
        for each in leaves
    ]
    options = {"auth": True, "limit": CONNECTIONS_MAX}
    clients = (await ask("CONNZ", options))["data"].get("connections") or ()
    found += [
        _connection("client", each.get("name") or "this node", each, accounts.sort_of(account))
        for each in clients
        if each.get("kind") != "Leafnode"
        for account in [each.get("account", "")]
    ]
    return found


def _connection(sort: str, name: str, found: dict[str, Any], carries: str) -> Connection:
    return Connection(
        sort=sort,
        name=name,
        address=f"{found['ip']}:{found['port']}",
        carries=carries,
        bytes_in=found.get("in_bytes", 0),
        bytes_out=found.get("out_bytes", 0),
    )
