"""What the front checks a client's proof against: the verifier of a role.

While the database sleeps, `roles.json` is exact, as nothing can change. While it is awake, the
server itself is asked, so that a role can log in right after it was made.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from skerry.kernel.kind import Resource
from skerry.kinds._shared.pgwire import messages
from skerry.kinds._shared.pgwire.messages import WireError
from skerry.kinds._shared.pgwire.scram import (
    Credential,
    ScramError,
    Verifier,
    mock_verifier,
    parse_verifier,
)
from skerry.kinds.postgres import roles
from skerry.kinds.postgres.upstream import RefusalError, connect

T = TypeVar("T")

_REMEMBERED = 10_000
_MAX_NAME_BYTES = 63
_ASK_SECONDS = 5.0
_ROLE = "SELECT rolpassword FROM pg_authid WHERE rolcanlogin AND rolname ="
_IDLE = """
SELECT 1 FROM pg_stat_activity
WHERE state = 'idle' AND wait_event = 'ClientRead' AND pid = {process}"""
_LOG = logging.getLogger("skerry.postgres.front")


class Lookup:
    """Finds verifiers; keeps what costs CPU to derive."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._awake: dict[str, str] = {}
        self._applications: OrderedDict[str, Verifier] = OrderedDict()
        self._superusers: OrderedDict[str, Credential] = OrderedDict()

    def woke(self, resource: Resource, path: str) -> None:
        """Note that the resource is awake, and where its socket is."""
        self._awake[resource.id] = path

    def slept(self, resource: Resource) -> None:
        """Note that the resource may be asleep."""
        self._awake.pop(resource.id, None)

    async def verifier(self, resource: Resource, user: str) -> Verifier:
        """Return the verifier of a role, or one that nothing fits if nobody may log in as that."""
        found = None
        if len(user.encode()) <= _MAX_NAME_BYTES and "\x00" not in user:
            found = await asyncio.to_thread(self._written, resource, user)
            path = self._awake.get(resource.id)
            if path is not None and user not in (roles.APPLICATION, roles.SUPERUSER):
                found = await self._told(resource, user, path, found)
        return found or mock_verifier(self._secret + resource.id.encode(), user)

    async def is_idle(self, resource: Resource, path: str, process: int) -> bool:
        """Ask an awake server whether a session of it has answered all, outside a transaction."""
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                credential = await asyncio.to_thread(self._superuser, resource)
                return await _ask(path, credential, _IDLE.format(process=process)) is not None
        except (OSError, RefusalError, ScramError, WireError, TimeoutError) as error:
            _LOG.info("a server was not asked for a session: %r", error)
            return False

    def _written(self, resource: Resource, user: str) -> Verifier | None:
        written = roles.read(resource.directory)
        if user != roles.APPLICATION or (written is not None and written.id == resource.id):
            return roles.verifier_of(written, resource.id, resource.keys, user)
        return _remember(
            self._applications, resource.id, lambda: roles.application_verifier(resource.keys)
        )

    async def _told(
        self, resource: Resource, user: str, path: str, written: Verifier | None
    ) -> Verifier | None:
        """Ask the server; what is written counts if it does not answer."""
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                credential = await asyncio.to_thread(self._superuser, resource)
                text = await _ask(path, credential, _ROLE + messages.literal(user))
        except (OSError, RefusalError, ScramError, WireError, TimeoutError) as error:
            _LOG.info("a server was not asked for a role: %r", error)
            return written
        try:
            return parse_verifier(text) if text else None
        except ValueError:
            return None

    def _superuser(self, resource: Resource) -> Credential:
        return _remember(
            self._superusers, resource.id, lambda: roles.superuser_credential(resource.keys)
        )


async def _ask(path: str, credential: Credential, select: str) -> str | None:
    """Return the first column of the first row, or None if there is none."""
    upstream = await connect(path)
    try:
        await upstream.log_in({"user": roles.SUPERUSER, "database": "postgres"}, credential)
        answer = await upstream.ask(messages.query(select))
        rows = [body for kind, body in answer if kind == b"D"]
        return messages.row(rows[0])[0] if rows else None
    finally:
        upstream.close()


def _remember(known: OrderedDict[str, T], key: str, make: Callable[[], T]) -> T:
    if key not in known:
        known[key] = make()
        if len(known) > _REMEMBERED:
            known.popitem(last=False)
    return known[key]
