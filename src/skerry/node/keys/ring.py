"""The key ring of a node: the data keys of its apps, wrapped on disk and open in memory.

An app has one data key that is in use, and perhaps older ones, which still open what was encrypted
before. The file is written anew at each change and never appended to: a log would keep what was
destroyed. What was done with keys is told by the audit log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from skerry.kernel.clock import Clock, Entropy
from skerry.kernel.errors import (
    ALREADY_EXISTS,
    CONFLICT,
    CORRUPT,
    KEY_DESTROYED,
    NOT_FOUND,
    STORE_UNREACHABLE,
    SkerryError,
)
from skerry.kernel.names import did_you_mean
from skerry.node.home import write_secret
from skerry.node.keys.holders import NODE, FolderHolder, Holder, HolderSpec
from skerry.node.keys.opening import open_holder

FILE = "keys.json"
KEY_BYTES = 32
DESTROYED_MAX = 100_000

T = TypeVar("T")


class DataKey(msgspec.Struct, frozen=True):
    """A data key as it is kept: wrapped by a key of the holder that has the same name."""

    id: str
    app: str
    holder: str
    wrapped: bytes
    made: int
    current: bool = True


class Destroyed(msgspec.Struct, frozen=True):
    """A data key that is gone; times are nanoseconds since 1970."""

    id: str
    app: str
    time: int


class OpenKey(NamedTuple):
    """A data key that can be used now."""

    id: str
    key: bytes

    def __repr__(self) -> str:
        return f"OpenKey({self.id})"


class Ended(NamedTuple):
    """What the destruction of one key came to."""

    id: str
    holder: str
    said: str


class _File(msgspec.Struct, frozen=True):
    """`keys.json`. `ring` begins the names of wrapping keys, so that nodes may share a holder."""

    ring: str
    holders: tuple[HolderSpec, ...] = ()
    default: str = NODE
    keys: tuple[DataKey, ...] = ()
    destroyed: tuple[Destroyed, ...] = ()


class KeyRing:
    """Makes, opens, moves and destroys data keys. Opening it blocks."""

    def __init__(self, folder: Path, own: Path, clock: Clock, entropy: Entropy) -> None:
        self._path = folder / FILE
        self._own = own
        self._clock = clock
        self._entropy = entropy
        self._lock = asyncio.Lock()
        self._open: dict[str, bytes] = {}
        self.locked: dict[str, str] = {}
        """Keys that cannot be opened now, and why."""
        self.on_end: list[Callable[[], Awaitable[None]]] = []
        """Called after keys ended here: whoever made something of one lets go of it."""
        self.on_open: list[Callable[[OpenKey], object]] = []
        """Called, in a thread, with each key that can be used from now on."""
        own.mkdir(mode=0o700, exist_ok=True)
        self._file = self._read()
        self.unlock()

    def __repr__(self) -> str:
        return f"KeyRing({len(self._file.keys)} keys)"

    def _read(self) -> _File:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_File)
        except FileNotFoundError:
            return _File(self._entropy.bytes(4).hex())
        except msgspec.DecodeError as error:
            raise CORRUPT(f"{self._path} cannot be read.", why=str(error)) from error

    def _write(self, file: _File) -> None:
        write_secret(self._path, msgspec.json.encode(file))
        self._file = file

    def unlock(self) -> None:
        """Open every key that can be opened now. Blocks; a holder that is away is asked once."""
        away: dict[str, str] = {}
        for each in self._file.keys:
            if each.id in self._open:
                continue
            if each.holder not in away:
                try:
                    holder = self._holder(each.holder)
                    key = holder.unwrap(self._name(each.id), each.wrapped)
                    self._opened(OpenKey(each.id, key))
                    self.locked.pop(each.id, None)
                    continue
                except SkerryError as error:
                    self.locked[each.id] = f"{error.what} {error.why}".strip()
                    if error.problem is STORE_UNREACHABLE:
                        away[each.holder] = self.locked[each.id]
                    continue
            self.locked[each.id] = away[each.holder]

    def _opened(self, key: OpenKey) -> None:
        self._open[key.id] = key.key
        for each in self.on_open:
            each(key)

    # ---- looking -------------------------------------------------------------------------------

    @property
    def holders(self) -> tuple[HolderSpec, ...]:
        """The holders, the node's own first."""
        return (HolderSpec(NODE, "file", path=str(self._own)), *self._file.holders)

    @property
    def default(self) -> str:
        """The holder of new apps' keys."""
        return self._file.default

    @property
    def keys(self) -> tuple[DataKey, ...]:
        """Every key that is not destroyed."""
        return self._file.keys

    @property
    def destroyed(self) -> tuple[Destroyed, ...]:
        """Every key that is."""
        return self._file.destroyed

    @property
    def opened(self) -> list[OpenKey]:
        """Every key that can be used now."""
        return [OpenKey(name, key) for name, key in list(self._open.items())]

    def of(self, app: str) -> list[DataKey]:
        """Return the keys of an app, the one in use first."""
        found = [each for each in self._file.keys if each.app == app]
        return sorted(found, key=lambda each: (not each.current, -each.made))

    def is_external(self, app: str) -> bool:
        """Tell whether the key in use of an app is wrapped by a key outside this node."""
        return any(each.current and each.holder != NODE for each in self.of(app))

    def current(self, app: str) -> OpenKey | None:
        """Return the key in use of an app; None if it has none yet. Raises STORE_UNREACHABLE."""
        found = next((each for each in self.of(app) if each.current), None)
        return None if found is None else OpenKey(found.id, self.key(found.id))

    def key(self, id: str) -> bytes:  # noqa: A002 (the word of the ring)
        """Return a key by its id.

        Raises KEY_DESTROYED, STORE_UNREACHABLE while its holder is away, NOT_FOUND for one that
        was never here.
        """
        found = self._open.get(id)
        if found is not None:
            return found
        if id in self.locked:
            raise STORE_UNREACHABLE(
                f"The data key {id} cannot be opened now.",
                why=self.locked[id],
                hint="skerry keys unlock",
            )
        if any(each.id == id for each in self._file.destroyed):
            raise KEY_DESTROYED(
                f"The data key {id} was destroyed.",
                why="Nothing that it encrypted can be read again.",
                hint="skerry audit receipts",
            )
        raise NOT_FOUND(f"This node has no data key {id}.", hint="skerry keys list")

    # ---- changing ------------------------------------------------------------------------------

    async def _change(self, work: Callable[[], T]) -> T:
        async with self._lock:
            return await asyncio.to_thread(work)

    async def ensure(self, app: str) -> OpenKey:
        """Return the key in use of an app, made if it has none."""
        found = self.current(app)
        if found is not None:
            return found
        return await self._change(lambda: self.current(app) or self._make(app))

    def fresh(self) -> OpenKey:
        """Return a key that nobody has yet, for `adopt`."""
        return OpenKey(self._entropy.bytes(8).hex(), self._entropy.bytes(KEY_BYTES))

    async def adopt(self, app: str, id: str, key: bytes) -> None:  # noqa: A002
        """Keep a key as the one in use; older ones stay, to open what they encrypted.

        It is a fresh one, or one that an app brought from another node.
        """
        await self._change(lambda: self._make(app, id, key))

    def _make(self, app: str, brought: str = "", key: bytes = b"") -> OpenKey:
        own = brought or self._entropy.bytes(8).hex()
        key = key or self._entropy.bytes(KEY_BYTES)
        made = self._wrapped(DataKey(own, app, self._holder_for(app), b"", self._clock.now()), key)
        rest = [
            msgspec.structs.replace(each, current=False) if each.app == app else each
            for each in self._file.keys
            if each.id != own
        ]
        destroyed = tuple(each for each in self._file.destroyed if each.id != own)
        self._write(msgspec.structs.replace(self._file, keys=(*rest, made), destroyed=destroyed))
        opened = OpenKey(own, key)
        self._opened(opened)
        return opened

    def _holder_for(self, app: str) -> str:
        known = self.of(app)
        return known[0].holder if known else self._file.default

    def _wrapped(self, record: DataKey, key: bytes) -> DataKey:
        """Return a record with its key wrapped, after trying that it opens again."""
        holder, name = self._holder(record.holder), self._name(record.id)
        holder.make(name)
        wrapped = holder.wrap(name, key)
        if holder.unwrap(name, wrapped) != key:
            raise CORRUPT(f"{record.holder} does not give back what it wrapped.")
        return msgspec.structs.replace(record, wrapped=wrapped)

    async def rewrap(self, app: str, holder: str) -> list[Ended]:
        """Wrap an app's keys with a key of another holder; destroy the wrapping keys before."""
        return await self._change(lambda: self._rewrap(app, holder))

    def _rewrap(self, app: str, holder: str) -> list[Ended]:
        self._holder(holder)
        before = [each for each in self.of(app) if each.holder != holder]
        for each in before:
            key = self.key(each.id)
            made = self._wrapped(msgspec.structs.replace(each, holder=holder), key)
            keys = tuple(made if known.id == each.id else known for known in self._file.keys)
            self._write(msgspec.structs.replace(self._file, keys=keys))
        return [self._end(each) for each in before]

    async def destroy(self, app: str) -> list[Ended]:
        """Destroy every key of an app, at its holder first.

        Raises NOT_FOUND if it has none, and what a holder raises: then nothing is said to be gone
        that is not, and it can be tried again.
        """
        ended = await self._change(lambda: self._destroy(app))
        await self._tell_end()
        return ended

    async def forget_destroyed(self, app: str) -> None:
        """Keep no longer that an app's keys were destroyed: nothing is left that names one."""

        def work() -> None:
            rest = tuple(each for each in self._file.destroyed if each.app != app)
            self._write(msgspec.structs.replace(self._file, destroyed=rest))

        await self._change(work)

    async def _tell_end(self) -> None:
        for each in self.on_end:
            await each()

    def _destroy(self, app: str) -> list[Ended]:
        found = self.of(app)
        if not found:
            raise NOT_FOUND(
                f"{app} has no data key here.",
                why=did_you_mean(app, {each.app for each in self._file.keys}),
                hint="skerry keys list",
            )
        ended = []
        for each in found:
            ended.append(self._end(each))
            gone = Destroyed(each.id, app, self._clock.now())
            self._drop(each.id, (*self._file.destroyed, gone)[-DESTROYED_MAX:])
        return ended

    def _end(self, record: DataKey) -> Ended:
        said = self._holder(record.holder).destroy(self._name(record.id))
        return Ended(record.id, record.holder, said)

    def _drop(self, id: str, destroyed: tuple[Destroyed, ...]) -> None:  # noqa: A002
        keys = tuple(each for each in self._file.keys if each.id != id)
        self._write(msgspec.structs.replace(self._file, keys=keys, destroyed=destroyed))
        self._open.pop(id, None)
        self.locked.pop(id, None)

    async def forget(self, app: str, only: frozenset[str] | None = None) -> list[Ended]:
        """Let go of keys of an app that is another node's now; that node has its own wrap.

        With `only`, it is those ids. Returns what became of each.
        """

        def work() -> list[Ended]:
            ended = []
            for each in self.of(app):
                if only is None or each.id in only:
                    ended.append(self._end(each))
                    self._drop(each.id, self._file.destroyed)
            return ended

        ended = await self._change(work)
        await self._tell_end()
        return ended

    # ---- holders -------------------------------------------------------------------------------

    async def hold(self, spec: HolderSpec, *, default: bool) -> None:
        """Take a holder in, after trying it with a key of its own.

        Raises ALREADY_EXISTS if another is known by that name, and what the holder raises.
        """
        await self._change(lambda: self._hold(spec, default=default))

    def _hold(self, spec: HolderSpec, *, default: bool) -> None:
        known = next((each for each in self._file.holders if each.name == spec.name), None)
        if known is not None and known != spec and any(k.holder == spec.name for k in self.keys):
            raise ALREADY_EXISTS(
                f"{spec.name} holds keys, at {known.place}.", hint="skerry keys list"
            )
        self.probe(open_holder(spec))
        rest = tuple(each for each in self._file.holders if each.name != spec.name)
        name = spec.name if default else self._file.default
        self._write(msgspec.structs.replace(self._file, holders=(*rest, spec), default=name))

    def probe(self, holder: Holder) -> None:
        """Wrap, unwrap and destroy a key at a holder; raise CONFLICT if it still opens after that.

        Blocks.
        """
        name, key = self._name(f"probe-{self._entropy.bytes(4).hex()}"), self._entropy.bytes(32)
        holder.make(name)
        try:
            wrapped = holder.wrap(name, key)
            if holder.unwrap(name, wrapped) != key:
                raise CORRUPT("The holder does not give back what it wrapped.")
        finally:
            holder.destroy(name)
        try:
            holder.unwrap(name, wrapped)
        except SkerryError as error:
            if error.problem is KEY_DESTROYED:
                return
            raise
        raise CONFLICT("The holder still opens what a destroyed key has wrapped.")

    def holder(self, name: str) -> Holder:
        """Return a holder by its name; raise NOT_FOUND."""
        return self._holder(name)

    def _holder(self, name: str) -> Holder:
        if name == NODE:
            return FolderHolder(self._own)
        spec = next((each for each in self._file.holders if each.name == name), None)
        if spec is None:
            known = [each.name for each in self.holders]
            raise NOT_FOUND(
                f"There is no holder of keys {name}.",
                why=did_you_mean(name, known),
                hint="skerry keys hold <name> --file <folder>",
            )
        return open_holder(spec)

    def _name(self, id: str) -> str:  # noqa: A002
        return f"{self._file.ring}-{id}"
