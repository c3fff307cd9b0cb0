"""A database that stays elsewhere: a socket like a server's, relayed to where the DSN leads.

The node's front and the cell log in here with the resource's own password; only this module uses
the DSN's credentials. Source: PostgreSQL 18, "Message Flow".
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from pathlib import Path

from skerry.kernel.clock import SystemEntropy
from skerry.kernel.errors import CONFIG_INVALID, UNSUPPORTED, SkerryError
from skerry.kernel.keys import Keys
from skerry.kernel.kind import Context
from skerry.kernel.names import MAIN
from skerry.kinds._shared.pgwire import messages, scram
from skerry.kinds._shared.pgwire.messages import Startup, WireError
from skerry.kinds.postgres import tunnel
from skerry.kinds.postgres.config import PostgresConfig
from skerry.kinds.postgres.roles import APPLICATION, application_verifier
from skerry.kinds.postgres.server import SOCKET
from skerry.kinds.postgres.tunnel import Source

_LOGIN_SECONDS = 30.0
_PLACE_SECONDS = 5.0
"""How long one place of several is tried."""
_READY_MESSAGES_MAX = 1000
_READ_ONLY = "25006"
_TRY_NEXT = (_READ_ONLY, "57P01", "57P02", "57P03")
"""Refusals after which another place may do: it takes no writes, shuts down, or starts up."""
_MAX_MESSAGE_BYTES = 60_000
_MAX_ITERATIONS = 1_000_000
_OK, _CONTINUE, _FINAL = 0, 11, 12
_LOG = logging.getLogger("skerry.postgres.external")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class External:
    """Serves the socket of one external database."""

    def __init__(self, source: Source, run: Path, keys: Keys) -> None:
        self._source = source
        self._places = list(source.places)
        self._path = run / SOCKET
        self._keys = keys
        self._server: asyncio.Server | None = None
        self._verifier: scram.Verifier | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; nothing is asked of the server elsewhere before a client comes."""
        self._verifier = await asyncio.to_thread(application_verifier, self._keys)
        self._server = await asyncio.start_unix_server(self._accept, self._path)
        self._path.chmod(0o777)

    async def stop(self) -> None:
        """End all sessions."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    def busy(self) -> str:
        """Return why the relay must stay; what the sessions do is not looked into."""
        return "a session with the external database is open" if self._tasks else ""

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve((reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, near: Streams) -> None:
        far: Streams | None = None
        try:
            async with asyncio.timeout(_LOGIN_SECONDS):
                packet = await _packet(near[0])
                if int.from_bytes(packet[:4], "big") == messages.CANCEL_REQUEST:
                    await self._cancel(packet)
                    return
                startup = messages.parse_startup(packet)
                signature = await self._check(near, startup)
                far, told = await self._reach(startup)
            near[1].write(messages.authentication(_FINAL, signature) + messages.authentication(_OK))
            near[1].write(told)
            await tunnel.relay(near, far)
        except (
            OSError,
            EOFError,
            RefusalError,
            WireError,
            SkerryError,
            scram.ScramError,
            TimeoutError,
        ) as error:
            near[1].write(self._in_wire_terms(error))
        finally:
            for _, writer in filter(None, (near, far)):
                writer.close()

    async def _reach(self, startup: Startup) -> tuple[Streams, bytes]:
        """Open a session at the first place that will do; the one that did last comes first.

        Returns it with what its server has said since the log-in. Raises what one of them said.
        """
        failure: Exception = EOFError("the DSN names no place")
        for place in list(self._places):
            source = self._source.at(place)
            try:
                async with asyncio.timeout(_PLACE_SECONDS):
                    far = await tunnel.connect(source)
                    try:
                        await _log_in(far, source, startup)
                        told = await _check_writes(far) if source.writes else b""
                    except BaseException:
                        far[1].close()
                        raise
            except (OSError, EOFError, TimeoutError) as error:
                failure = failure if isinstance(failure, RefusalError) else error
            except RefusalError as error:
                if error.state not in _TRY_NEXT or len(self._places) == 1:
                    raise
                failure = error
            else:
                self._places.remove(place)
                self._places.insert(0, place)
                return far, told
        raise failure

    def _in_wire_terms(self, error: Exception) -> bytes:
        if isinstance(error, RefusalError):
            return error.packet
        if isinstance(error, WireError):
            return error.encode()
        _LOG.info("the external database refused a session: %r", error)
        where = ", ".join(f"{host}:{port}" for host, port in self._source.places)
        text = f"the external database at {where} cannot be reached"
        return WireError("08006", text, str(error)).encode()

    async def _check(self, near: Streams, startup: Startup) -> bytes:
        """Check the resource's own password; return the signature that ends the log-in."""
        reader, writer = near
        user = startup.parameters["user"]
        if user != APPLICATION or self._verifier is None:
            raise WireError("28P01", f'password authentication failed for user "{user}"')
        exchange = scram.ServerExchange(self._verifier, SystemEntropy().bytes(18), None)
        writer.write(messages.sasl_mechanisms([scram.PLAIN]))
        mechanism, first = messages.parse_sasl_initial((await _message(reader))[1])
        writer.write(messages.authentication(_CONTINUE, exchange.first(mechanism, first)))
        try:
            return exchange.final((await _message(reader))[1])
        except scram.ProofError:
            text = f'password authentication failed for user "{user}"'
            raise WireError("28P01", text) from None

    async def _cancel(self, packet: bytes) -> None:
        reader, writer = await tunnel.connect(self._source.at(self._places[0]))
        writer.write((len(packet) + 4).to_bytes(4, "big") + packet)
        await writer.drain()
        await reader.read(1)
        writer.close()


def external_dsn(context: Context, config: PostgresConfig) -> str:
    """Return the DSN; raise CONFIG_INVALID if it is missing, UNSUPPORTED on a copied branch."""
    name = context.ref.name
    if context.ref.branch != MAIN:
        raise UNSUPPORTED(
            f"{name} is an external database, and is not on the branch {context.ref.branch}.",
            why="Skerry cannot copy it, and the branch would write to the one that main uses.",
            hint=f"Use {name} on {MAIN} alone, or copy it: skerry postgres import.",
        )
    dsn = context.secrets.get(config.dsn_secret, "")
    if not dsn:
        raise CONFIG_INVALID(
            f"{name} is external, and is not given its secret {config.dsn_secret}.",
            why="skerry.toml must name it in `secrets` too, and it must have a value.",
            hint=f'In [postgres.{name}]: secrets = ["{config.dsn_secret}"]. '
            f"Then skerry secret set {config.dsn_secret}, and skerry deploy.",
        )
    return dsn


class RefusalError(Exception):
    """A server refused a session: its own packet, and the SQLSTATE in it."""

    def __init__(self, body: bytes) -> None:
        self.packet = messages.message(b"E", body)
        fields = {each[:1]: each[1:].decode(errors="replace") for each in body.split(b"\x00")}
        self.state = fields.get(b"C", "")
        super().__init__(fields.get(b"M", "it refused the session"))


async def _check_writes(far: Streams) -> bytes:
    """Return what a server says until it is ready; raise RefusalError if it takes no writes.

    Any server with PostgreSQL's protocol answers the question, which is what libpq asks, too.
    """
    told = b"".join([messages.message(*each) for each in await _until_ready(far[0])])
    far[1].write(messages.query("SHOW transaction_read_only"))
    answer = await _until_ready(far[0])
    for kind, body in answer:
        if kind == b"E":
            raise RefusalError(body)
        if kind == b"D" and messages.row(body)[0] == "off":
            return told
    said = WireError(_READ_ONLY, "the server takes no writes").encode()
    raise RefusalError(said[5:])


async def _until_ready(reader: asyncio.StreamReader) -> list[tuple[bytes, bytes]]:
    """Return the messages up to and with ReadyForQuery; raise RefusalError for a fatal error."""
    found: list[tuple[bytes, bytes]] = []
    while not found or found[-1][0] != b"Z":
        if len(found) > _READY_MESSAGES_MAX:
            raise WireError("08P01", "the external database does not become ready")
        found.append(await _message(reader))
        if found[-1][0] == b"E" and len(found) == 1:
            raise RefusalError(found[-1][1])
    return found


async def _log_in(far: Streams, source: Source, startup: Startup) -> None:
    """Log in elsewhere; raises RefusalError. What follows AuthenticationOk is unread."""
    reader, writer = far
    parameters = {**startup.parameters, "user": source.user}
    parameters["database"] = source.database or source.user
    writer.write(messages.startup(parameters))
    nonce = SystemEntropy().bytes(18)
    exchange = scram.ClientExchange(b"", scram.mock_verifier(b"", ""), nonce)
    while True:
        kind, body = await _message(reader)
        code, data = int.from_bytes(body[:4], "big"), body[4:]
        if kind == b"E":
            raise RefusalError(body)
        if kind != b"R":
            raise WireError("08P01", "the external database broke the protocol of the log-in")
        match code:
            case 0:
                return
            case 3:
                writer.write(messages.message(b"p", source.password.encode() + b"\x00"))
            case 5:
                writer.write(messages.message(b"p", _md5(source, data) + b"\x00"))
            case 10 if scram.PLAIN.encode() in data.split(b"\x00"):
                writer.write(messages.sasl_initial(scram.PLAIN, exchange.first()))
            case 11:
                credential = await asyncio.to_thread(_derive, source.password, data)
                exchange = scram.ClientExchange(credential.client_key, credential.verifier, nonce)
                writer.write(messages.message(b"p", exchange.final(data)))
            case 12:
                exchange.verify(data)
            case _:
                raise WireError("0A000", f"the external database asks for authentication {code}")


def _derive(password: str, server_first: bytes) -> scram.Credential:
    salt, iterations = scram.challenge(server_first)
    if iterations > _MAX_ITERATIONS:
        raise scram.ScramError("the server asks for too many iterations")
    return scram.make_credential(password, salt, iterations)


def _md5(source: Source, salt: bytes) -> bytes:
    def digest(data: bytes) -> bytes:
        return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()

    return b"md5" + digest(digest((source.password + source.user).encode()) + salt)


async def _packet(reader: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await reader.readexactly(4), "big")
    if not 8 <= length <= messages.MAX_STARTUP_BYTES:
        raise WireError("08P01", "invalid length of startup packet")
    return await reader.readexactly(length - 4)


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    length = int.from_bytes(head[1:], "big")
    if not 4 <= length <= _MAX_MESSAGE_BYTES:
        raise WireError("08P01", f"invalid message length {length}")
    return head[:1], await reader.readexactly(length - 4)
