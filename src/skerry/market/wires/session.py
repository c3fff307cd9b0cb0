"""A terminal beside a leased service, over a WebSocket of the tenant's own node: `/market/session`.

The first message is text: which deployment, what to run, and the terminal's size. It is for the
operator alone; the node itself speaks to the provider, wherever it is.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.types import ASGIApp

from skerry.kernel.policy import Request, enforce
from skerry.market.link import Session
from skerry.node.workload.shell_wire import OPERATOR, Size, make_terminal, read_ask


class Open(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first message."""

    dseq: int
    argv: tuple[str, ...]
    service: str = ""
    terminal: tuple[Size, Size] | None = None


def make(handler: Any) -> ASGIApp:
    """Make the application."""

    async def begin(first: str) -> Session:
        ask = read_ask(first, Open)
        node = handler.node
        enforce(node.policy, Request(OPERATOR, "market:shell", where=node.name))
        session: Session = await handler.session(ask.dseq, ask.service, ask.argv, ask.terminal)
        return session

    return make_terminal(handler.operator_token, begin)
