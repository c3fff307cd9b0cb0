"""The first words of a connection: TLS, cancel requests, which resource, and who.

The credential is checked here, in the node, before anything is woken. Order and refusals follow
PostgreSQL's own server.
"""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass

from skerry.kernel.clock import SystemEntropy
from skerry.kernel.kind import Resource
from skerry.kinds._shared.pgwire import messages, scram
from skerry.kinds._shared.pgwire.messages import Startup, WireError
from skerry.kinds.postgres.address import find_target
from skerry.kinds.postgres.elsewhere import Elsewhere, startup_for
from skerry.kinds.postgres.lobby import Lobby
from skerry.kinds.postgres.stream import Stream
from skerry.kinds.postgres.tls import ALPN, server_name

"""The name of the port wire in the manifest."""

_TLS_RECORD = 0x16
_MAX_SASL_BYTES = 4096
_OLD_KEY_BYTES = 4
_NEW_KEY_BYTES = 32
_MAX_REQUESTS = 4
_FAILED_SECONDS = 0.2


@dataclass(frozen=True, slots=True, repr=False)
class Welcome:
    """A client that has proved who it is."""

    resource: Resource
    pooled: bool
    parameters: dict[str, str]
    credential: scram.Credential
    signature: bytes
    unsupported: bytes
    process: int
    key: bytes

    def matches(self, key: bytes) -> bool:
        """Tell whether a cancel key is this client's."""
        return hmac.compare_digest(key, self.key)

    def accept(self, said: bytes) -> bytes:
        """Return what ends the client's log-in, with the settings that the server said."""
        ready = said.rindex(messages.READY)
        head = messages.authentication(12, self.signature) + messages.authentication(0)
        key = messages.backend_key(self.process, self.key)
        return head + self.unsupported + said[:ready] + key + said[ready:]


class Handshake:
    """The handshake of one connection."""

    def __init__(self, client: Stream, lobby: Lobby) -> None:
        self._client = client
        self._lobby = lobby
        self._encrypted = False

    async def run(self) -> Welcome | Elsewhere | None:
        """Return who it is; None if the connection was for a cancel request.

        Whoever wants a database that is on another node is not asked who it is.

        Raises WireError with the refusal, SkerryError, OSError.
        """
        if (await self._client.peek(1))[0] == _TLS_RECORD:
            await self._direct_tls()
        for _ in range(_MAX_REQUESTS):
            packet = await self._client.packet(messages.MAX_STARTUP_BYTES)
            code = int.from_bytes(packet[:4], "big")
            if code == messages.SSL_REQUEST and not self._encrypted:
                await self._offer_tls()
            elif code in (messages.SSL_REQUEST, messages.GSSENC_REQUEST):
                self._client.transport.write(b"N")
            elif code == messages.CANCEL_REQUEST:
                await self._cancel(packet[4:])
                return None
            else:
                return await self._log_in(messages.parse_startup(packet))
        raise WireError("08P01", "too many negotiations before the startup packet")

    async def _direct_tls(self) -> None:
        received, self._client.buffer = bytes(self._client.buffer), bytearray()
        await self._upgrade(received)
        chosen = self._client.transport.get_extra_info("ssl_object").selected_alpn_protocol()
        if chosen != ALPN:
            raise WireError(
                "08P01", "received direct SSL connection request without ALPN protocol negotiation"
            )

    async def _offer_tls(self) -> None:
        if self._client.buffer:
            raise WireError(
                "08P01",
                "received unencrypted data after SSL request",
                "This could be either a client-software bug or evidence of an attempted "
                "man-in-the-middle attack.",
            )
        self._client.transport.write(b"S")
        await self._upgrade(b"")

    async def _upgrade(self, received: bytes) -> None:
        tls = self._lobby.tls()
        self._client.transport = await tls.upgrade(self._client.transport, self._client, received)
        self._encrypted = True

    async def _cancel(self, body: bytes) -> None:
        if not 8 <= len(body) <= 4 + messages.MAX_CANCEL_KEY_BYTES:
            return
        await self._lobby.cancel(int.from_bytes(body[:4], "big"), body[4:])

    async def _log_in(self, startup: Startup) -> Welcome | Elsewhere:
        name = server_name(self._client.transport) if self._encrypted else None
        target = find_target(startup.parameters, name, self._lobby.knows)
        for each in (target, target.pooled()):
            path = await self._lobby.elsewhere(each) if each else None
            if path is not None:
                return Elsewhere(path, startup_for(target.parameters, target.label))
        resource, pooled = self._lobby.resource(target)
        self._lobby.admit(resource)
        parameters = {
            key: value for key, value in target.parameters.items() if not key.startswith("_pq_.")
        }
        user = parameters["user"]
        verifier = await self._lobby.lookup.verifier(resource, user)
        binding = self._lobby.tls().end_point if self._encrypted else None
        exchange = scram.ServerExchange(verifier, _entropy(18), binding)
        try:
            signature = await self._prove(exchange, binding is not None)
        except scram.ProofError:
            await asyncio.sleep(_FAILED_SECONDS)
            raise WireError("28P01", f'password authentication failed for user "{user}"') from None
        except scram.ScramError as error:
            raise WireError("08P01", str(error)) from error
        unsupported = startup.unsupported()
        negotiate = startup.minor > messages.PROTOCOL_MINOR or bool(unsupported)
        key_bytes = _OLD_KEY_BYTES if startup.minor < messages.PROTOCOL_MINOR else _NEW_KEY_BYTES
        process = self._lobby.new_process_number()
        return Welcome(
            resource=resource,
            pooled=pooled,
            parameters=parameters,
            credential=scram.Credential(exchange.client_key, verifier),
            signature=signature,
            unsupported=messages.negotiate(unsupported) if negotiate else b"",
            process=process,
            key=_entropy(key_bytes),
        )

    async def _prove(self, exchange: scram.ServerExchange, bindable: bool) -> bytes:
        offered = [scram.PLUS, scram.PLAIN] if bindable else [scram.PLAIN]
        self._client.transport.write(messages.sasl_mechanisms(offered))
        mechanism, first = messages.parse_sasl_initial(await self._response())
        if mechanism not in offered:
            raise WireError("08P01", "client selected an invalid SASL authentication mechanism")
        answer = messages.authentication(11, exchange.first(mechanism, first))
        self._client.transport.write(answer)
        return exchange.final(await self._response())

    async def _response(self) -> bytes:
        kind, body = await self._client.message(_MAX_SASL_BYTES)
        if kind != b"p":
            raise WireError("08P01", "expected SASL response, got another message")
        return body


def _entropy(count: int) -> bytes:
    return SystemEntropy().bytes(count)
