"""Log-ins from the first redirect to the token, and their end; each is an entry of the audit log.

Whoever logs in gets a token of this node (biscuit) that is narrowed to what the first of their
groups may, until the session ends. Without a group that is named nobody is let in. The operator's
token needs no provider.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, ParamSpec, TypeVar

import msgspec

from skerry.kernel.app import parse_duration
from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.commands import Check, Nothing
from skerry.kernel.errors import (
    BUSY,
    CONFIG_INVALID,
    DENIED,
    INVALID,
    UNAUTHENTICATED,
    SkerryError,
)
from skerry.node.identity import service as s
from skerry.node.identity.calls import check_url
from skerry.node.identity.claims import library
from skerry.node.identity.provider import Person, Provider
from skerry.node.identity.settings import GroupConfig
from skerry.node.node import Node
from skerry.node.token import biscuit
from skerry.node.token.limits import Limits, make
from skerry.node.words import Progress

PENDING_SECONDS = 600.0
PENDING_MAX = 256
CALLS_MAX = 8
SESSION_SECONDS_MAX = 7 * 86_400
NAME_LETTERS = 28
P = ParamSpec("P")
T = TypeVar("T")
_WORD = re.compile(r"[a-z0-9]+")


class Begun(NamedTuple):
    """Where a browser goes to log in, and the secret that it keeps meanwhile."""

    url: str
    secret: str


class Arrival(NamedTuple):
    """Somebody who logged in: a token, who it is for, and for how many seconds."""

    token: str
    name: str
    seconds: int
    memo: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Arrival({self.name})"


@dataclass(frozen=True)
class _Pending:
    secret: str
    nonce: str
    verifier: str
    redirect: str
    memo: Mapping[str, str]
    until: float


class Handler:
    """See the module's docstring."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._config = node.config.identity
        self._pending: dict[str, _Pending] = {}
        self._calls = asyncio.Semaphore(CALLS_MAX)
        self._limits: dict[str, Limits] = {}
        self._seconds = 0
        self._provider: Provider | None = None

    async def start(self) -> None:
        """Read the settings; raise CONFIG_INVALID, and EXTRA_MISSING without the library."""
        config = self._config
        if not config.issuer:
            return
        check_url(config.issuer)
        if not config.client_id:
            raise CONFIG_INVALID("[identity] client-id is missing.", hint="skerry docs identity")
        if config.redirect:
            check_url(config.redirect)
        self._seconds = _session_seconds(config.session)
        self._limits = {name: _limits(name, each) for name, each in config.groups.items()}
        await asyncio.to_thread(library)
        biscuit.library()
        self._provider = Provider(config, self._node.clock)

    @property
    def issuer(self) -> str:
        """The provider's address; '' if none is configured."""
        return self._config.issuer if self._provider is not None else ""

    # ---- logging in ----------------------------------------------------------------------------

    async def begin(self, redirect: str, memo: Mapping[str, str]) -> Begun:
        """Begin a log-in; `redirect` is this node's address to come back to, `memo` is given back.

        Raises STORE_UNREACHABLE while the provider does not answer.
        """
        provider, clock = self._asked(), self._node.clock
        state, secret, nonce = self._word(), self._word(), self._word()
        redirect, verifier = self._config.redirect or redirect, self._word() + self._word()
        url = await self._in_thread(provider.address, redirect, state, nonce, verifier)
        now = clock.monotonic()
        self._pending = {key: each for key, each in self._pending.items() if each.until > now}
        while len(self._pending) >= PENDING_MAX:
            del self._pending[next(iter(self._pending))]
        until = now + PENDING_SECONDS
        self._pending[state] = _Pending(secret, nonce, verifier, redirect, memo, until)
        return Begun(url, secret)

    async def finish(self, secret: str, said: Mapping[str, str]) -> Arrival:
        """Let somebody in who comes back from the provider, with what the browser brings.

        Raises UNAUTHENTICATED for what does not belong to a log-in that began in this browser or is
        not the provider's word, DENIED for somebody in no group that may.
        """
        provider = self._asked()
        found = self._pending.pop(said.get("state", ""), None)
        if found is None or found.until < self._node.clock.monotonic():
            raise UNAUTHENTICATED("That log-in is over, or never began.", hint="skerry open")
        if not hmac.compare_digest(found.secret.encode(), secret.encode()):
            raise UNAUTHENTICATED("That log-in began in another browser.", hint="skerry open")
        issuer = said.get("iss", "")
        if issuer and issuer != self._config.issuer:
            raise UNAUTHENTICATED("Another identity provider answered (RFC 9207).")
        if said.get("error") or not said.get("code"):
            raise UNAUTHENTICATED(
                "The identity provider let nobody in.", why=said.get("error", "")[:100]
            )
        person = await self._in_thread(
            provider.person, said["code"], found.redirect, found.nonce, found.verifier
        )
        return await self._admit(person, found.memo)

    async def _admit(self, person: Person, memo: Mapping[str, str]) -> Arrival:
        """Give a person a token for what the first of their groups may."""
        name = name_of(self._config.issuer, person)
        group = next((each for each in self._limits if each in person.groups), None)
        if group is None:
            await self._tell("refused", person, name, group="")
            raise DENIED(
                f"{person.called[:100]} is in no group that may log in here.",
                why="Groups are named in [identity.groups] of the node's config.toml.",
                hint="skerry docs identity",
            )
        until = self._node.clock.now() // NANOSECONDS + self._seconds
        limits = msgspec.structs.replace(self._limits[group], until=until)
        token = biscuit.mint(self._node.tokens.seed, name, limits)
        own = biscuit.read(token, None).ids[-1]
        await self._tell("in", person, name, group=group, id=own[:32], until=until)
        return Arrival(token, name, self._seconds, memo)

    async def leave(self, token: str) -> None:
        """End a log-in before its time: its token, and all narrowed from it, are refused."""
        node = self._node
        found = node.tokens.read(token)
        now = node.clock.now() // NANOSECONDS
        until = now + SESSION_SECONDS_MAX
        await asyncio.to_thread(node.tokens.end, found.ids[-1], until, now)
        await node.audit.add(
            "login", {"event": "out", "name": found.name, "id": found.ids[-1][:32]}
        )

    # ---- telling -------------------------------------------------------------------------------

    async def do_show(self, params: Nothing, progress: Progress) -> s.Shown:
        """See `identity.show`."""
        problem = await self.problem() if self.issuer else ""
        return s.Shown(
            issuer=self.issuer,
            client=self._config.client_id,
            redirect=self._config.redirect or f"{self._node.url}/login/callback",
            session_seconds=self._seconds,
            answers=bool(self.issuer) and not problem,
            problem=problem,
            groups=tuple(s.GroupInfo(name, each.datalog()) for name, each in self._limits.items()),
        )

    async def problem(self) -> str:
        """Return why nobody could log in by the provider now; '' if somebody could."""
        provider = self._asked()
        if not self._limits:
            return "no group may log in"
        try:
            await self._in_thread(provider.known)
            await self._in_thread(provider.keys)
        except SkerryError as error:
            return f"{error.what} {error.why}".strip()
        return ""

    async def examine(self) -> list[Check]:
        """Say for `skerry doctor` whether the provider answers."""
        if not self.issuer:
            return []
        problem = await self.problem()
        detail = problem or f"{self.issuer} answers, and has keys"
        return [Check("identity", not problem, detail, "skerry identity show" if problem else "")]

    # ---- inside --------------------------------------------------------------------------------

    def _asked(self) -> Provider:
        if self._provider is None:
            raise DENIED(
                "No identity provider is configured here.",
                why="config.toml of the node has no [identity].",
                hint="skerry docs identity",
            )
        return self._provider

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        if self._calls.locked():
            raise BUSY(f"{CALLS_MAX} people log in just now.")
        async with self._calls:
            return await asyncio.to_thread(work, *args, **named)

    def _word(self) -> str:
        return self._node.entropy.bytes(24).hex()

    async def _tell(self, event: str, person: Person, name: str, **said: object) -> None:
        who = {"issuer": self._config.issuer, "subject": person.subject, "name": name}
        await self._node.audit.add("login", {"event": event, **who, **said})


def name_of(issuer: str, person: Person) -> str:
    """Return a name for a person's token: readable, and no two people's.

    What a provider calls somebody can change and be given to another; issuer and subject cannot.
    """
    digest = hashlib.sha256(f"{issuer}\n{person.subject}".encode()).hexdigest()[:8]
    words = "-".join(_WORD.findall(person.called.lower()))[:NAME_LETTERS].strip("-")
    plain = words if words and words[0].isalpha() else f"p-{words}".strip("-")
    return f"{plain}-{digest}"


def _limits(name: str, group: GroupConfig) -> Limits:
    try:
        return make(0, **msgspec.structs.asdict(group))
    except SkerryError as error:
        if error.problem is not INVALID:
            raise
        raise CONFIG_INVALID(
            f"[identity.groups.{name}]: {error.what}", why=error.why, hint="skerry docs identity"
        ) from error


def _session_seconds(text: str) -> int:
    try:
        seconds = int(parse_duration(text))
    except ValueError:
        seconds = 0
    if not 60 <= seconds <= SESSION_SECONDS_MAX:
        raise CONFIG_INVALID(
            f"[identity] session: {text!r} is not a time from 1m to 7d.",
            hint="skerry docs identity",
        )
    return seconds
