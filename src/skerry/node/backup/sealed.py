"""Backups of apps whose data keys are wrapped outside the node: each key has a store of its own.

Such an app is left out of the node's own backups. It lies below `apps/<data key>` at the same
destination, under a password that is derived from the data key and kept nowhere, so that the end of
the key is the end of its backups, in every copy of them.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from skerry.kernel.errors import NOT_FOUND, SkerryError
from skerry.kernel.keys import derive
from skerry.node.backup.destination import Destination
from skerry.node.backup.index import Scope, parse_scope
from skerry.node.backup.repository import Repository
from skerry.node.home import write_secret
from skerry.node.keys.ring import OpenKey

if TYPE_CHECKING:
    from skerry.node.node import Node

Connect = Callable[[str, Destination], Awaitable[Repository]]
"""Makes the repository of a destination under a name of this node's."""

T = TypeVar("T")

CACHE = "cache"
_ENDING = ".password"
LEFT_OUT = "Its data key is held outside this node: it has backups of its own."


class SealedStores:
    """The stores of such apps at the destinations of a node."""

    def __init__(self, node: Node, stores: Callable[[str], Destination], connect: Connect) -> None:
        self._node = node
        self._stores = stores
        self._connect = connect
        self._repositories: dict[tuple[str, str], Repository] = {}
        node.keyring.on_end.append(self.forget)

    def apps(self) -> list[str]:
        """Return the apps that are here and have such a key."""
        ring = self._node.keyring
        return [app for app in self._node.catalogue.apps if ring.is_external(app)]

    def left_out(self, scope: Scope) -> dict[str, str]:
        """Return the apps that a backup of a scope leaves to their own stores, and why."""
        return {} if scope.app else dict.fromkeys(self.apps(), LEFT_OUT)

    async def of_scope(self, store: str, scope: str) -> Repository | None:
        """Return where a backup of a scope goes at a store, made if need be; None: the node's own.

        Raises STORE_UNREACHABLE while the key is locked.
        """
        app = parse_scope(scope).app
        ring = self._node.keyring
        key = ring.current(app) if app and ring.is_external(app) else None
        if key is None:
            return None
        known = (store, key.id) in self._repositories
        repository = await self._repository(store, key)
        if not known:
            await repository.create()
        return repository

    async def of_app(self, store: str, app: str) -> list[Repository]:
        """Return every store of an app at a destination, that of the key in use first."""
        ring = self._node.keyring
        keys = [OpenKey(each.id, ring.key(each.id)) for each in ring.of(app)]
        return [await self._repository(store, each) for each in keys]

    async def _repository(self, store: str, key: OpenKey) -> Repository:
        found = self._repositories.get((store, key.id))
        if found is None:
            base = self._stores(store)
            destination = msgspec.structs.replace(
                base,
                url=f"{base.url.rstrip('/')}/apps/{key.id}",
                password=derive(key.key, "backup").hex(),
            )
            found = await self._connect(f"{store}-{key.id}", destination)
            self._repositories[store, key.id] = found
        return found

    async def forget(self) -> None:
        """Let go of stores whose keys are gone, with the passwords that were written for them."""
        living = {each.id for each in self._node.keyring.keys}
        for known in [each for each in self._repositories if each[1] not in living]:
            del self._repositories[known]
        folder = self._node.home.service("backup")
        await asyncio.to_thread(_remove_all_but, folder / CACHE, living)


def write_password(folder: Path, name: str, destination: Destination) -> Path:
    """Write the file from which the engine reads a derived password, where no backup looks."""
    path = folder / CACHE / f"{name}{_ENDING}"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_secret(path, destination.password.encode(), durable=False)
    return path


def _remove_all_but(cache: Path, living: set[str]) -> None:
    """Remove the passwords of keys that are gone, of an earlier run of the node too."""
    for file in cache.glob(f"*{_ENDING}"):
        name = file.name.removesuffix(_ENDING)
        if name.rpartition("-")[2] not in living:
            file.unlink(missing_ok=True)
            shutil.rmtree(cache / name, ignore_errors=True)


async def first_that_holds(
    repositories: list[Repository], work: Callable[[Repository], Awaitable[T]]
) -> T:
    """Return what a piece of work finds in the first store that has what it looks for.

    Raises NOT_FOUND if none has.
    """
    missing: SkerryError | None = None
    for each in repositories:
        try:
            return await work(each)
        except SkerryError as error:
            if error.problem is not NOT_FOUND:
                raise
            missing = error
    assert missing is not None, "there is a store to look in"
    raise missing
