"""Requests that present a token: who they are, and whether the token allows what they ask.

What a token cannot do at all, however wide: make tokens, show the recovery key, open the console.
"""

from __future__ import annotations

import asyncio
import tarfile
import tomllib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path, PurePosixPath

import msgspec

from skerry.kernel.app import FILE_NAME
from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.commands import BranchCreate, Command
from skerry.kernel.errors import DENIED, UNAUTHENTICATED
from skerry.kernel.names import MAIN
from skerry.kernel.policy import Request
from skerry.node.node import Node
from skerry.node.token.biscuit import Token, allows
from skerry.node.token.limits import READ
from skerry.node.token.rights import Deed, Rights

PRINCIPAL = "token:"
USED_MAX = 1000
TOML_BYTES_MAX = 1 << 20
MEMBERS_MAX = 100_000
LITERALS_MAX = 40
_APP_FILE = PurePosixPath(FILE_NAME)

OPERATORS_OWN = frozenset({"token.mint", "backup.key"})
"""Commands that no token allows: what they give has no limits."""

REVEALING = frozenset({"resource:connect"})
"""Actions that change nothing and tell credentials: the verb `read` does not cover them."""


class Delegation:
    """The tokens that are used on a node's surfaces."""

    def __init__(self, node: Node, commands: Mapping[str, Command]) -> None:
        self._node = node
        self._commands = commands
        self._used: OrderedDict[str, str] = OrderedDict()
        self._spending = {each.service for each in commands.values() if each.spends}

    def principal(self, text: str) -> str:
        """Return who presents a token: its name, and the id of its last block.

        Raises UNAUTHENTICATED for a token of another node and for a revoked one, INVALID for what
        is none.
        """
        token = self._node.tokens.read(text)
        principal = f"{PRINCIPAL}{token.name}/{token.ids[-1][:16]}"
        self._used[principal] = text
        self._used.move_to_end(principal)
        if len(self._used) > USED_MAX:
            self._used.popitem(last=False)
        return principal

    def _token(self, principal: str) -> Token | None:
        if not principal.startswith(PRINCIPAL):
            return None
        text = self._used.get(principal)
        if text is None:
            raise UNAUTHENTICATED("The token was not presented with this request.")
        return self._node.tokens.read(text)

    async def rights(
        self, command: Command, params: msgspec.Struct, principal: str
    ) -> Rights | None:
        """Return under which rights a command is carried out; None for the operator's.

        Raises DENIED if the token does not allow it, UNAUTHENTICATED if it was revoked.
        """
        token = self._token(principal)
        if token is None:
            return None
        if command.name in OPERATORS_OWN:
            raise DENIED(f"No token allows {command.name}.", why="It gives rights without limits.")
        used = Rights(token, await self._deed(command, params))
        used.check(used.deed)
        return used

    async def _deed(self, command: Command, params: msgspec.Struct) -> Deed:
        verbs = [command.action, command.action.partition(":")[0]]
        if not command.mutates and command.action not in REVEALING:
            verbs.append(READ)
        leaves = bool(command.kind) and bool(self._node.manifests[command.kind].leaves)
        price = self._price(command, params)
        return Deed(
            verbs=tuple(verbs),
            seconds=self._node.clock.now() // NANOSECONDS,
            app=await self._app(params),
            branches=tuple(dict.fromkeys(_branches(command, params))),
            resource=_resource(command, params),
            country="" if leaves or _goes_anywhere(command, params) else self._country(),
            price=None if leaves else price,
        )

    def _country(self) -> str:
        view = self._node.placement.view(Request("token", "token:use", self._node.name))
        return str(view.attributes["country"])

    def _price(self, command: Command, params: msgspec.Struct) -> int | None:
        """Return what a command costs at most; None if it cannot be said."""
        if command.spends:
            try:
                return int(Decimal(str(getattr(params, command.spends))) * 1_000_000)
            except (InvalidOperation, ValueError, OverflowError):
                return None
        return None if command.mutates and command.service in self._spending else 0

    async def _app(self, params: msgspec.Struct) -> str:
        """Return the app that a command is about; of a deploy, what its upload declares."""
        app = getattr(params, "app", None) or getattr(params, "for_app", None)
        if app or not hasattr(params, "upload"):
            return str(app or "")
        path = self._node.archives.path(params.upload)
        return await asyncio.to_thread(_declared, path)

    def admit(self, principal: str, what: str) -> None:
        """Raise DENIED unless a principal may upload, download or log in.

        An upload has no meaning yet: it is admitted if there is any app, branch and resource for
        which the token would allow a command that takes one. A download has a name that only its
        command told.
        """
        token = self._token(principal)
        if token is None:
            return
        if what == "login":
            raise DENIED("The console is the operator's.", why="A token is for the API.")
        taking = [
            each
            for each in self._commands.values()
            if what == "download" or "upload" in each.params.__struct_fields__
        ]
        verbs = {verb for each in taking for verb in (each.action, each.action.partition(":")[0])}
        verbs |= {READ} if what == "download" else set()
        failed = ""
        for facts in self._possible(token, sorted(verbs)):
            failed = allows(token, facts)
            if not failed:
                return
        raise DENIED(f"The token {token.name} allows no {what}.", why=f"It was narrowed: {failed}.")

    def _possible(self, token: Token, verbs: list[str]) -> Iterator[str]:
        """Yield facts about whatever the checks of a token name, one branch at a time."""
        named = token.literals[:LITERALS_MAX] or [MAIN]
        seconds = self._node.clock.now() // NANOSECONDS
        plain = Deed(tuple(verbs), seconds, country=self._country()).facts()
        for each in named:
            plain += f'\napp("{each}");\nresource("{each}");\ncountry("{each}");'
        for branch in named:
            yield f'{plain}\nbranch("{branch}");'


def _branches(command: Command, params: msgspec.Struct) -> Iterator[str]:
    """Yield every branch that a command touches."""
    for name in ("branch", "as_branch", "source"):
        value = getattr(params, name, None)
        if isinstance(value, str) and value and (name != "source" or _creates(params)):
            yield value
    if command.name.startswith("branch.") and hasattr(params, "name"):
        yield params.name
    if command.name == "branch.promote":
        yield MAIN


def _creates(params: msgspec.Struct) -> bool:
    return isinstance(params, BranchCreate)


def _resource(command: Command, params: msgspec.Struct) -> str:
    """Return the resource that a command is about, if its name is one."""
    of_resource = bool(command.kind) or command.name.startswith("resource.")
    return str(getattr(params, "name", None) or "") if of_resource else ""


def _goes_anywhere(command: Command, params: msgspec.Struct) -> bool:
    """Tell whether a command leads to places that nobody decides on, because no app is named."""
    return bool(command.spends) and not getattr(params, "for_app", "")


def _declared(path: Path) -> str:
    """Return the name of the app in an uploaded folder; '' if it has none."""
    try:
        with tarfile.open(path) as archive:
            for _, member in zip(range(MEMBERS_MAX), archive, strict=False):
                if PurePosixPath(member.name) == _APP_FILE and member.isreg():
                    file = archive.extractfile(member)
                    text = file.read(TOML_BYTES_MAX).decode() if file else ""
                    return str(tomllib.loads(text).get("app", {}).get("name", ""))
    except (tarfile.TarError, OSError, EOFError, ValueError, AttributeError):
        return ""
    return ""
