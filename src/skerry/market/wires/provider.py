"""Akash's provider gateway: what a tenant does with a lease on the machine that serves it.

    GET  /version  /address  /status                          open to everybody
    PUT  /deployment/{dseq}/manifest                          send-manifest
    GET  /lease/{dseq}/{gseq}/{oseq}/manifest                 get-manifest
    GET  /lease/{dseq}/{gseq}/{oseq}/status                   status
    GET  /lease/{dseq}/{gseq}/{oseq}/service/{name}/status    status
    WS   /lease/{dseq}/{gseq}/{oseq}/logs  /shell             logs, shell

The token names the tenant; errors are plain text, as the original's. A frame of standard input
without data is its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from skerry import __version__
from skerry.kernel.errors import CONFLICT, DENIED, INVALID, NOT_FOUND, UNAUTHENTICATED, SkerryError
from skerry.market.core.names import LeaseId
from skerry.market.identity.tokens import LeaseClaims, read_lease_token
from skerry.market.link import ServiceStatus
from skerry.market.provider.agent import Agent
from skerry.market.provider.manifests import MANIFEST_BYTES_MAX
from skerry.market.wires.asgi import body_of, guarded, json
from skerry.market.wires.remote_session import FAILURE, RESIZE, RESULT, STDERR, STDIN, STDOUT

PREFIX = "/market/provider"
COMMAND_WORDS_MAX = 100
LOG_LINES_MAX = 10_000
SOCKETS_MAX = 200
_TERMINAL = (24, 80)
_CLOSE_POLICY, _CLOSE_BUSY = 1008, 1013
_resize = struct.Struct(">HH")

Socket = Callable[[WebSocket, LeaseId], Awaitable[None]]


def make(handler: Any) -> Starlette:
    """Make the application for the market's handler."""
    wire = _Wire(handler)
    lease = "/lease/{dseq:int}/{gseq:int}/{oseq:int}"

    def text(call: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Any]:
        return guarded(call, _text)

    routes = [
        Route("/version", text(wire.version)),
        Route("/address", text(wire.address)),
        Route("/status", text(wire.status)),
        Route("/deployment/{dseq:int}/manifest", text(wire.put_manifest), methods=["PUT"]),
        Route(f"{lease}/manifest", text(wire.get_manifest)),
        Route(f"{lease}/status", text(wire.lease_status)),
        Route(f"{lease}/service/{{service}}/status", text(wire.service_status)),
        WebSocketRoute(f"{lease}/logs", wire.socket("logs", wire.logs)),
        WebSocketRoute(f"{lease}/shell", wire.socket("shell", wire.shell)),
    ]
    return Starlette(routes=[Mount(PREFIX, routes=routes)])


def _text(error: SkerryError) -> Response:
    status = 422 if error.problem is CONFLICT else error.problem.http
    return PlainTextResponse(f"{error.what} {error.why}".strip(), status)


class _Wire:
    def __init__(self, handler: Any) -> None:
        self._handler = handler
        self._sockets = 0

    @property
    def _agent(self) -> Agent:
        agent: Agent | None = self._handler.agent
        if agent is None:
            raise NOT_FOUND(
                "This node is not a provider.", why="Its operator did not start it as one."
            )
        return agent

    async def version(self, _request: Request) -> Response:
        """Tell which software this is."""
        return json({"akash": {"version": f"skerry {__version__}"}, "kube": None})

    async def address(self, _request: Request) -> Response:
        """Tell the provider's address."""
        return json({"address": self._agent.address})

    async def status(self, _request: Request) -> Response:
        """Tell what the provider has and what of it is free."""
        agent = self._agent
        total, free = agent.inventory.capacity, agent.inventory.free()
        leases = agent.records.leases
        return json(
            {
                "address": agent.address,
                "cluster": {
                    "leases": len(leases),
                    "inventory": {
                        "total": {
                            "cpu": total.cpu_milli,
                            "memory": total.memory_bytes,
                            "storage_ephemeral": total.storage_bytes,
                            "gpu": total.gpu_units,
                        },
                        "available": {
                            "cpu": free.cpu_milli,
                            "memory": free.memory_bytes,
                            "storage_ephemeral": free.storage_bytes,
                            "gpu": free.gpu_units,
                        },
                    },
                },
                "bidengine": {"orders": len(agent.inventory.reserved) - len(leases)},
                "manifest": {"deployments": sum(e.group is not None for e in leases.values())},
                "cluster_public_hostname": agent.settings.url,
            }
        )

    async def put_manifest(self, request: Request) -> Response:
        """Take a manifest for every lease that this provider has of a deployment."""
        claims = self._claims(request)
        dseq = request.path_params["dseq"]
        agent = self._agent
        self._allow(claims, "send-manifest", dseq)
        try:
            manifest = msgspec.json.decode(
                await body_of(request, MANIFEST_BYTES_MAX), type=list[dict[str, Any]]
            )
        except msgspec.MsgspecError as error:
            raise INVALID("The manifest is not well-formed.", why=str(error)) from error
        leases = await agent.leases_of(claims.iss, dseq)
        for lease in leases:
            await agent.take_manifest(lease, manifest)
        return Response(status_code=200)

    async def get_manifest(self, request: Request) -> Response:
        """Return a lease's part of the manifest."""
        lease, _ = self._lease(request, "get-manifest")
        _, group = self._agent.lease(lease)
        return json([group])

    async def lease_status(self, request: Request) -> Response:
        """Tell how the services of a lease fare."""
        lease, _ = self._lease(request, "status")
        _, group = self._agent.lease(lease)
        found = await self._agent.runner.status(lease, group)
        ports = {each.name: _forwarded(each) for each in found if each.ports}
        services = {each.name: _service(each) for each in found}
        return json({"services": services, "forwarded_ports": ports, "ips": None})

    async def service_status(self, request: Request) -> Response:
        """Tell how one service fares."""
        service = request.path_params["service"]
        lease, _ = self._lease(request, "status", service)
        _, group = self._agent.lease(lease)
        for each in await self._agent.runner.status(lease, group):
            if each.name == service:
                return json(_service(each))
        raise NOT_FOUND(f"There is no service {service}.")

    def _claims(self, connection: HTTPConnection) -> LeaseClaims:
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise UNAUTHENTICATED("The request has no token.")
        return read_lease_token(token.strip(), self._handler.clock)

    def _allow(
        self,
        claims: LeaseClaims,
        scope: str,
        dseq: int,
        rest: tuple[int, int] = (0, 0),
        name: str = "",
    ) -> None:
        if not claims.allow(scope, self._agent.address, dseq, *rest, name):
            raise DENIED(f"The token does not allow {scope} here.")

    def _lease(
        self, connection: HTTPConnection, scope: str, service: str = ""
    ) -> tuple[LeaseId, LeaseClaims]:
        """Return the lease of a path, which must be its token's issuer's."""
        claims = self._claims(connection)
        params = connection.path_params
        dseq, gseq, oseq = params["dseq"], params["gseq"], params["oseq"]
        self._allow(claims, scope, dseq, (gseq, oseq), service)
        return LeaseId(claims.iss, dseq, gseq, oseq, self._agent.address), claims

    def socket(self, scope: str, serve: Socket) -> Callable[[WebSocket], Awaitable[None]]:
        """Serve a WebSocket to whom the token allows it; others are refused before it opens."""

        async def answer(socket: WebSocket) -> None:
            try:
                service = socket.query_params.get("service", "")
                lease, _ = self._lease(socket, scope, service)
                self._agent.lease(lease)
            except SkerryError as error:
                await socket.send_denial_response(_text(error))
                return
            if self._sockets >= SOCKETS_MAX:
                await socket.close(_CLOSE_BUSY)
                return
            await socket.accept()
            self._sockets += 1
            try:
                with contextlib.suppress(WebSocketDisconnect):
                    await serve(socket, lease)
            finally:
                self._sockets -= 1

        return answer

    async def logs(self, socket: WebSocket, lease: LeaseId) -> None:
        """Send lines, each as `{"name": …, "message": …}`."""
        query = socket.query_params
        tail = query.get("tail", "100")
        lines = min(int(tail), LOG_LINES_MAX) if tail.isdigit() else 100
        follow = query.get("follow", "false") == "true"
        found = self._agent.runner.logs(lease, query.get("service", ""), lines, follow)
        gone = asyncio.create_task(_until_gone(socket))
        sent = asyncio.create_task(_send_lines(socket, found))
        try:
            await asyncio.wait({gone, sent}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (gone, sent):
                task.cancel()
            await asyncio.gather(gone, sent, return_exceptions=True)
        with contextlib.suppress(RuntimeError):
            await socket.close()

    async def shell(self, socket: WebSocket, lease: LeaseId) -> None:
        """Run a command; the first byte of every frame says what it is."""
        query = socket.query_params
        command: list[str] = []
        while len(command) < COMMAND_WORDS_MAX and f"cmd{len(command)}" in query:
            command.append(query[f"cmd{len(command)}"])
        replica = query.get("podIndex", "0")
        try:
            if not command or not replica.isdigit():
                raise INVALID("The shell wants cmd0, cmd1, … and podIndex.")
            session = await self._agent.runner.session(
                lease,
                query.get("service", ""),
                tuple(command),
                replica=int(replica),
                terminal=_TERMINAL if query.get("tty") in ("1", "true") else None,
            )
        except SkerryError as error:
            body = msgspec.json.encode({"message": error.what})
            await socket.send_bytes(bytes([FAILURE]) + body)
            await socket.close()
            return
        if query.get("stdin") not in ("1", "true"):
            session.end_input()
        taking = asyncio.create_task(_take_input(socket, session))
        try:
            await _send_output(socket, session)
        finally:
            await session.close()
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)


async def _until_gone(socket: WebSocket) -> None:
    """Return when the other side has gone."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _send_lines(socket: WebSocket, lines: Any) -> None:
    try:
        async for line in lines:
            found = {"name": line.service, "message": line.text, "stream": line.stream}
            await socket.send_text(msgspec.json.encode(found).decode())
    finally:
        await lines.aclose()


async def _send_output(socket: WebSocket, session: Any) -> None:
    try:
        async for stream, data in session.output():
            kind = STDOUT if stream == "stdout" else STDERR
            await socket.send_bytes(bytes([kind]) + data)
        result: dict[str, Any] = {"exit_code": session.code or 0}
    except SkerryError as error:
        result = {"exit_code": 0, "message": error.what}
    await socket.send_bytes(bytes([RESULT]) + msgspec.json.encode(result))
    await socket.close()


async def _take_input(socket: WebSocket, session: Any) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            await session.close()
            return
        frame = message.get("bytes") or b""
        if frame[:1] == bytes([STDIN]):
            if len(frame) == 1:
                session.end_input()
            else:
                await session.write(frame[1:])
        elif frame[:1] == bytes([RESIZE]) and len(frame) == 1 + _resize.size:
            columns, rows = _resize.unpack(frame[1:])
            session.resize(rows, columns)


def _service(found: ServiceStatus) -> dict[str, Any]:
    return {
        "name": found.name,
        "available": found.ready,
        "total": found.wanted,
        "uris": list(found.uris) or None,
        "observed_generation": 1,
        "replicas": found.wanted,
        "updated_replicas": found.wanted,
        "ready_replicas": found.ready,
        "available_replicas": found.ready,
        "state": found.state,
        "detail": found.detail,
    }


def _forwarded(found: ServiceStatus) -> list[dict[str, Any]]:
    return [
        {
            "host": address.rpartition(":")[0],
            "port": port,
            "externalPort": int(address.rpartition(":")[2] or 0),
            "proto": kind.upper(),
            "name": found.name,
        }
        for port, address, kind in found.ports
    ]
