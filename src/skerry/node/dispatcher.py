"""The dispatcher: every command of every surface is decided on here, and carried out."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import msgspec

from skerry.kernel import commands as c
from skerry.kernel.clock import Clock, Entropy
from skerry.kernel.errors import INVALID, disk_full
from skerry.kernel.manifest import Manifest
from skerry.kernel.policy import Request, enforce
from skerry.kernel.reading import refusal
from skerry.kernel.service import Service
from skerry.node.handlers import Handlers
from skerry.node.home import Home
from skerry.node.log_lines import ENGINES
from skerry.node.node import Node
from skerry.node.token import rights
from skerry.node.token.delegation import Delegation
from skerry.node.token.registry import is_token
from skerry.node.token.rights import Rights
from skerry.node.words import Progress

OPERATOR = "operator"


class Dispatcher:
    """A node as its surfaces see it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._handlers = Handlers(node)
        self.commands = c.commands(node.manifests.values(), self.services.values())
        self._delegation = Delegation(node, self.commands)

    @property
    def name(self) -> str:
        """The node's name."""
        return self._node.name

    @property
    def home(self) -> Home:
        """Where the node keeps everything."""
        return self._node.home

    @property
    def clock(self) -> Clock:
        """The node's clock."""
        return self._node.clock

    @property
    def entropy(self) -> Entropy:
        """The node's random numbers."""
        return self._node.entropy

    @property
    def manifests(self) -> Mapping[str, Manifest]:
        """Every kind that the node serves."""
        return self._node.manifests

    @property
    def services(self) -> Mapping[str, Service]:
        """Every service of the node."""
        return self._node.services.declared

    @property
    def identity(self) -> Any | None:
        """What logs people in by an identity provider, if the node has that service."""
        return self._node.services.known("identity")

    def handler(self, service: str) -> Any:
        """Return what carries out a service's commands, for its wires."""
        return self._node.services.handler(service)

    async def perform(
        self,
        command: c.Command,
        params: msgspec.Struct,
        principal: str = OPERATOR,
        progress: Progress | None = None,
    ) -> Any:
        """Decide on a command and carry it out; the params of a kind's word are a `WordCall`."""
        used = await self._decide(command, params, principal)
        with rights.under(used):
            result = await self._carry_out(command, params, progress or _silent)
        if command.mutates and not command.kind:
            app = getattr(params, "app", None) or getattr(result, "app", None)
            if app:
                await self._node.tenure.settle(app)
        return result

    async def _carry_out(self, command: c.Command, params: msgspec.Struct, report: Progress) -> Any:
        """Carry a command out; a full disk is told as such, wherever it was found."""
        try:
            return await self._do(command, params, report)
        except OSError as error:
            full = disk_full(error)
            if full is None:
                raise
            raise full from error

    async def _do(self, command: c.Command, params: msgspec.Struct, report: Progress) -> Any:
        if command.kind:
            call = cast(c.WordCall, params)
            return await self._node.words.call(command.kind, command.word, call, report)
        if command.service:
            return await self._node.services.perform(command, params, report)
        handler = getattr(self._handlers, f"do_{command.name.replace('.', '_')}")
        return await handler(params, report)

    async def _decide(
        self, command: c.Command, params: msgspec.Struct, principal: str
    ) -> Rights | None:
        """Ask the rights of whoever asks, then policy; return the rights if they are a token's."""
        used = await self._delegation.rights(command, params, principal)
        request = Request(
            principal=principal,
            action=command.action,
            where=self._node.name,
            app=getattr(params, "app", None),
            branch=getattr(params, "branch", None),
            kind=command.kind or None,
            resource=getattr(params, "name", None),
        )
        enforce(self._node.policy, request)
        if command.mutates and request.app:
            self._node.tenure.check(request.app)
            if not command.kind:
                self._check_no_reader(request.app)
        return used

    def _check_no_reader(self, app: str) -> None:
        """Raise READ_ONLY for what is a copy to be read; of the words of kinds, engines decide."""
        catalogue = self._node.catalogue
        reader = catalogue.readers.get(app) if app not in catalogue.apps else None
        for branch in reader.branches.values() if reader else ():
            raise refusal(branch.leader)

    async def stream(
        self, command: c.Command, params: msgspec.Struct, principal: str = OPERATOR
    ) -> AsyncIterator[Any]:
        """Yield the results of a command that streams them."""
        await self._decide(command, params, principal)
        if command.service:
            async for result in self._node.services.stream(command, params):
                yield result
            return
        if not isinstance(params, c.Logs):
            raise INVALID(f"{command.name} does not stream.")
        if params.source in {None, ENGINES}:
            self._node.catalogue.branch(params.app, params.branch)
        else:
            self._node.catalogue.record(params.app, params.branch, params.source)
        place = (params.app, params.branch, params.source)
        for record in await self._node.logbook.tail(*place, params.lines):
            yield record
        if params.follow:
            async for record in self._node.logbook.follow(*place):
                yield record

    async def receive_upload(self, chunks: AsyncIterator[bytes]) -> str:
        """Keep an upload for a command; return its id."""
        return await self._node.archives.receive(chunks)

    def download(self, id: str) -> AsyncIterator[bytes]:  # noqa: A002 (the word of the API)
        """Yield the bytes of a download, which can be fetched once."""
        return self._node.archives.send(id)

    def principal_of(self, token: str) -> str | None:
        """Return who holds a token; raises as `Registry.read` does for a delegated one."""
        if is_token(token):
            return self._delegation.principal(token)
        known = hmac.compare_digest(token.encode(), self._node.home.token().encode())
        return OPERATOR if known else None

    def admit(self, principal: str, what: str) -> None:
        """See `surfaces.port.Node.admit`."""
        self._delegation.admit(principal, what)


def _silent(_done: int, _total: int, _text: str) -> None:
    """Report to nobody."""
