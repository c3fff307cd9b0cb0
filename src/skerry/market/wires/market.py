"""The market's own wire: signed messages in, and the feed that providers follow.

    GET  /market/v1/address     who keeps this market
    POST /market/v1/messages    one message, signed by whom it concerns
    POST /market/v1/feed        what is open, once there is something new

A request carries a message token of its signer, or the token of the node's operator. A message may
also be one of Akash's, by its type (`{"typeUrl": "/akash.market.v1beta5.MsgCreateLease", …}`).
"""

from __future__ import annotations

import hmac
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skerry.kernel.errors import INVALID, UNAUTHENTICATED
from skerry.market.core.messages import read_message
from skerry.market.link import FEED_SECONDS_MAX
from skerry.market.wires import akash
from skerry.market.wires.asgi import body_of, guarded, json

BODY_BYTES_MAX = 1 << 20


class FeedRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """After which entry, and how long to wait."""

    after: int = -1
    seconds: float = 0.0


def make(handler: Any) -> Starlette:
    """Make the application for the market's handler."""
    wire = _Wire(handler)
    return Starlette(
        routes=[
            Route("/market/v1/address", guarded(wire.address)),
            Route("/market/v1/messages", guarded(wire.messages), methods=["POST"]),
            Route("/market/v1/feed", guarded(wire.feed), methods=["POST"]),
        ]
    )


class _Wire:
    def __init__(self, handler: Any) -> None:
        self._handler = handler

    async def address(self, _request: Request) -> Response:
        """Tell who keeps the market."""
        return json({"address": self._handler.exchange.operator})

    async def messages(self, request: Request) -> Response:
        """Take a message."""
        body = await body_of(request, BODY_BYTES_MAX)
        signer = self._signer(request, body)
        try:
            shape = msgspec.json.decode(body)
            if isinstance(shape, dict) and "typeUrl" in shape:
                message = akash.read(shape)
            else:
                message = read_message(shape)
        except msgspec.MsgspecError as error:
            raise INVALID("The message is not well-formed.", why=str(error)) from error
        await self._handler.exchange.submit(signer, message)
        return json({"sequence": self._handler.exchange.state.sequence})

    async def feed(self, request: Request) -> Response:
        """Answer once there is something new."""
        body = await body_of(request, BODY_BYTES_MAX)
        signer = self._signer(request, body)
        try:
            wanted = msgspec.json.decode(body, type=FeedRequest)
        except msgspec.MsgspecError as error:
            raise INVALID("The request is not well-formed.", why=str(error)) from error
        seconds = min(max(wanted.seconds, 0.0), FEED_SECONDS_MAX)
        found = await self._handler.exchange.feed(signer, wanted.after, seconds)
        return json(found)

    def _signer(self, request: Request, body: bytes) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise UNAUTHENTICATED(
                "The request is not signed.", why="It wants Authorization: Bearer <message token>."
            )
        if hmac.compare_digest(token.encode(), self._handler.operator_token.encode()):
            return str(self._handler.wallet.address)
        market = self._handler.exchange.operator
        return str(self._handler.tokens.read(token, market, body))
