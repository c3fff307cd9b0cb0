"""The catalogues of the nodes of a jurisdiction, each told by its node to the others.

A node tells what it has of each app that may be known to all nodes of the cluster: names, versions
and kinds; no secret, no key. It signs what it tells, and tells it anew whenever it differs from its
own catalogue: after being cut off, after a change of policy, and after the bus has lost it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import msgspec

from skerry.federation.bus.client import Client
from skerry.federation.bus.stream_log import STREAM, StreamLog
from skerry.federation.identity import Identity, verify
from skerry.kernel.catalogue import App, Catalogue
from skerry.kernel.clock import Clock
from skerry.kernel.errors import CONFLICT, CORRUPT, UNAUTHENTICATED, SkerryError
from skerry.kernel.log import GENESIS, Entry

ENTRIES_MAX = 5_000
"""After so many entries a log is begun anew with just what holds."""

READ_MAX = 50_000
NO_APP = "-"
"""What a log that was begun anew tells first: others forget what they heard before."""

_log = logging.getLogger("skerry.federation")


class ToldBranch(msgspec.Struct, frozen=True, array_like=True):
    """A branch: its name, the version that it serves, and its resources as `kind/name`."""

    name: str
    version: int
    resources: tuple[str, ...]


class Told(msgspec.Struct, frozen=True):
    """What a node says of one app."""

    node: str
    app: str
    digest: str = ""
    branches: tuple[ToldBranch, ...] = ()
    signature: bytes = b""

    def resources(self) -> Iterator[str]:
        """Yield the resources of every branch, as `kind/name`."""
        for branch in self.branches:
            yield from branch.resources

    def signed(self) -> bytes:
        """Return the bytes that are signed."""
        return b"skerry catalogue v1\n" + msgspec.json.encode(
            (self.node, self.app, self.digest, self.branches)
        )


_told = msgspec.json.Decoder(Told)


def told_of(node: str, app: App) -> Told:
    """Return what a node tells of an app, unsigned. The digest is that of main's code."""
    branches = tuple(
        ToldBranch(
            branch.name,
            branch.version,
            tuple(sorted(f"{each.kind}/{each.name}" for each in branch.resources.values())),
        )
        for branch in sorted(app.branches.values(), key=lambda each: each.name)
    )
    newest = app.versions[max(app.versions)].digest if app.versions else ""
    return Told(node, app.name, newest, branches)


class Telling:
    """Tells what this node has."""

    def __init__(
        self,
        identity: Identity,
        catalogue: Catalogue,
        client: Callable[[], Client],
        clock: Clock,
        may_tell: Callable[[str], bool],
    ) -> None:
        self._identity = identity
        self._catalogue = catalogue
        self._may_tell = may_tell
        self._stream = StreamLog(client, f"log.catalogue.{identity.id}", clock, _topic)
        self._said: dict[str, Told] | None = None
        self._entries = 0

    async def tell(self) -> None:
        """Make what the others know equal to this node's own catalogue.

        Raises STORE_UNREACHABLE while the bus cannot be reached; the next call goes on.
        """
        said = await self._known()
        wanted = {
            app.name: told_of(self._identity.id, app)
            for app in self._catalogue.apps.values()
            if app.branches and app.guest is None and self._may_tell(app.name)
        }
        if set(said) - set(wanted) or self._entries > ENTRIES_MAX:
            # What is gone, or may be known no longer, must not lie there any longer either.
            said = await self._begin_anew()
        for name, each in wanted.items():
            if said.get(name) != each:
                await self._append(each)

    async def _append(self, told: Told) -> None:
        signature = self._identity.sign(told.signed())
        said, self._said = self._said or {}, None  # not known until it is written
        await self._stream.append(
            msgspec.json.encode(msgspec.structs.replace(told, signature=signature))
        )
        self._entries += 1
        if told.app != NO_APP:
            said[told.app] = told
        self._said = said

    async def _known(self) -> dict[str, Told]:
        """Return what was told before; a log that is damaged is begun anew."""
        if self._said is not None:
            return self._said
        said: dict[str, Told] = {}
        self._entries = 0
        try:
            async for entry in self._stream.entries():
                told = _told.decode(entry.body)
                self._entries += 1
                if told.app != NO_APP:
                    said[told.app] = msgspec.structs.replace(told, signature=b"")
        except SkerryError as error:
            if error.problem not in (CORRUPT, CONFLICT):
                raise
            _log.warning("what was told of this node is damaged, and told anew: %s", error)
            return await self._begin_anew()
        self._said = said
        return said

    async def _begin_anew(self) -> dict[str, Told]:
        await self._stream.forget()
        self._said, self._entries = {}, 0
        await self._append(Told(self._identity.id, NO_APP))
        return self._said


class Hearing:
    """Hears what the other nodes have. What is not theirs, or does not follow, counts for nothing.

    `keys` gives the public key of a node that is bound, by its id.
    """

    def __init__(
        self, client: Callable[[], Client], keys: Callable[[str], bytes | None], own: str
    ) -> None:
        self._client = client
        self._keys = keys
        self._own = own
        self._next = 1
        self._heads: dict[str, tuple[int, bytes]] = {}
        self._heard: dict[str, dict[str, Told]] = {}

    def of(self, node: str) -> tuple[Told, ...]:
        """Return what a node has, as it said last."""
        return tuple(self._heard.get(node, {}).values())

    async def hear(self) -> None:
        """Take in what was told since the last call. Raises STORE_UNREACHABLE."""
        for _ in range(READ_MAX):
            found = await self._client().next(STREAM.name, "log.catalogue.>", self._next)
            if found is None:
                return
            self._next = found[0] + 1
            for entry, told in _readable(found[1]):
                if told.node != self._own:
                    self._take(entry, told)

    def _take(self, entry: Entry, told: Told) -> None:
        key = self._keys(told.node)
        head = self._heads.get(told.node, (0, GENESIS))
        if entry.sequence == 0:
            head = (0, GENESIS)
        if key is None or (entry.sequence, entry.previous) != head:
            _log.warning("what was told of %s is not its next word; it is left out", told.node)
            return
        try:
            verify(key, told.signature, told.signed())
        except SkerryError as error:
            if error.problem is not UNAUTHENTICATED:
                raise
            _log.warning("what was told of %s is not signed by it; it is left out", told.node)
            return
        self._heads[told.node] = (entry.sequence + 1, entry.digest())
        if entry.sequence == 0:
            self._heard[told.node] = {}
        if told.app != NO_APP:
            self._heard[told.node][told.app] = told


def _readable(data: bytes) -> Iterator[tuple[Entry, Told]]:
    """Yield an entry and what it tells; nothing if it cannot be read."""
    try:
        entry = msgspec.msgpack.decode(data, type=Entry)
        yield entry, _told.decode(entry.body)
    except msgspec.DecodeError as error:
        _log.warning("an entry of a catalogue cannot be read: %s", error)


def _topic(body: bytes) -> str:
    return _told.decode(body).app
