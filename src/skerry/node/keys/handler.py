"""Carries out the words of keys; each act is an entry of the audit log before it is answered."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from pathlib import Path

from skerry.kernel import events
from skerry.kernel.commands import Check, Done, Nothing
from skerry.kernel.errors import CONFLICT, INVALID, NOT_FOUND, UNSUPPORTED, SkerryError
from skerry.node.audit.receipts import DELETION, RECEIPT
from skerry.node.keys import service as s
from skerry.node.keys.holders import NODE, HolderSpec, check
from skerry.node.node import Node
from skerry.node.words import Progress

RETRY_SECONDS = 30.0
ENCRYPTED = ("secrets", "backups of the app", "sealed exports", "sealed parcels")
STATE = "state on this disk, of branches that were encrypted"
_log = logging.getLogger(__name__)

REACH_OUTSIDE = (
    "every copy of the data key that was wrapped there: what wrapped it is gone. Not reached are "
    "backups of the node from before the keys were held outside, exports that were not sealed, "
    "copies of the wrapping key that somebody made, and a node that was told to let go of the app "
    "and did not hear it: it has the data key under a holder of its own."
)
REACH_NODE = (
    "this node. The wrapping key was kept here, so backups of the node from before still hold it, "
    "until retention removes them."
)


class Handler:
    """See `KeyRing`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._ring = node.keyring
        self._retrying: asyncio.Task[None] | None = None
        self._encrypting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Ask holders that are away again and again; encrypt what came here in the clear."""
        self._retrying = asyncio.create_task(self._retry_for_ever())
        if self._node.at_rest.able:
            self._encrypting = asyncio.create_task(self._encrypt_what_is_clear())

    async def stop(self) -> None:
        """Ask no more, and leave as it is what is being encrypted."""
        tasks = [each for each in (self._retrying, self._encrypting) if each is not None]
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _retry_for_ever(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            if self._ring.locked:
                await asyncio.to_thread(self._ring.unlock)
                _log.info("%d data keys are locked", len(self._ring.locked))

    async def examine(self) -> list[Check]:
        """Say for `skerry doctor` which keys are locked, and how many are held outside."""
        apps = sorted({each.app for each in self._ring.keys})
        outside = sum(self._ring.is_external(app) for app in apps)
        locked = list(self._ring.locked.values())
        detail = f"those of {outside} of {len(apps)} apps are held outside this node"
        if locked:
            detail = f"{len(locked)} are locked: {locked[0]}"
        return [Check("data keys", not locked, detail, "skerry keys unlock" if locked else "")]

    async def do_list(self, params: s.OfKeys, progress: Progress) -> list[s.KeyInfo]:
        """See `keys.list`."""
        places = {each.name: each.place for each in self._ring.holders}
        found = [
            s.KeyInfo(
                app=each.app,
                key=each.id,
                holder=each.holder,
                place=places.get(each.holder, ""),
                state=self._state(each.id, current=each.current),
                made=each.made,
            )
            for each in self._ring.keys
            if params.app in (None, each.app)
        ]
        found += [
            s.KeyInfo(each.app, each.id, "", "", "destroyed", each.time)
            for each in self._ring.destroyed
            if params.app in (None, each.app)
        ]
        return sorted(found, key=lambda each: (each.app, each.made))

    def _state(self, key: str, *, current: bool) -> str:
        if key in self._ring.locked:
            return f"locked: {self._ring.locked[key]}"
        return "in use" if current else "opens what is older"

    async def do_holders(self, params: Nothing, progress: Progress) -> list[s.HolderInfo]:
        """See `keys.holders`."""
        held = [each.holder for each in self._ring.keys]
        return [
            s.HolderInfo(
                name=each.name,
                kind=each.kind,
                place=each.place,
                keys=held.count(each.name),
                default=each.name == self._ring.default,
                reach="this node and its backups" if each.name == NODE else "outside this node",
            )
            for each in self._ring.holders
        ]

    async def do_hold(self, params: s.Hold, progress: Progress) -> Done:
        """See `keys.hold`."""
        if sum(bool(each) for each in (params.file, params.age, params.transit)) != 1:
            raise INVALID("Name one of --file, --age and --transit.")
        kind = "file" if params.file else "age" if params.age else "transit"
        path = params.file or params.age
        if path and Path(path).is_relative_to(self._node.home.root):
            raise INVALID("The folder lies in the node's home.", why="Its backups would hold it.")
        spec = check(
            HolderSpec(
                name=params.name,
                kind=kind,  # type: ignore[arg-type]
                path=path,
                url=params.transit.rstrip("/"),
                mount=params.mount,
                token_file=params.token_file,
                ca_file=params.ca_file,
            )
        )
        await self._ring.hold(spec, default=params.default)
        await self._tell("held", holder=spec.name, kind=spec.kind, place=spec.place)
        return Done(
            f"{spec.name} wraps, unwraps and destroys: a key was tried there.",
            next=f"skerry keys wrap {spec.name}",
        )

    async def do_rotate(self, params: s.KeyOf, progress: Progress) -> Done:
        """See `keys.rotate`: secrets and state go under the new key; older keys open backups."""
        node = self._node
        app = node.catalogue.app(params.app)
        values = {name: node.vault.open(app.name, name) for name in app.secrets}
        node.abroad.check_own(app.name, "Rotating its keys")
        made = self._ring.fresh()
        # Nodes that have something of the app get it first: one that cannot be reached refuses all.
        await node.abroad.hand_key(app, made)
        await self._ring.adopt(app.name, *made)
        for name, value in values.items():
            sealed = node.vault.seal(app.name, name, value)
            await node.catalogue_log.append(events.encode(events.SecretSet(app.name, name, sealed)))
        await self._tell("rotated", app=app.name, key=made.id, secrets=sorted(values))
        said = f"{app.name} has the data key {made.id}; {len(values)} secrets are sealed anew"
        if node.at_rest.able:
            count = await self._encrypt(app.name, progress)
            said += f", and the state of {count} branches is encrypted anew"
        return Done(f"{said}.", next="skerry keys list")

    async def do_encrypt(self, params: s.OfKeys, progress: Progress) -> Done:
        """See `keys.encrypt`."""
        node = self._node
        apps = [node.catalogue.app(params.app).name] if params.app else list(node.catalogue.apps)
        if not node.at_rest.able:
            raise UNSUPPORTED(
                "The file system of the volume does not encrypt directories.",
                why="State lies as engines write it.",
                hint="skerry docs keys",
            )
        counts = {app: await self._encrypt(app, progress) for app in apps}
        changed = sum(counts.values())
        return Done(f"The state of {changed} branches was encrypted; the rest was already.")

    async def _encrypt(self, app: str, progress: Progress) -> int:
        """Bring an app's state under its key in use; return of how many branches it was not."""
        node = self._node
        node.tenure.check(app)
        names = list(node.catalogue.app(app).branches)
        changed = [name for name in names if await node.branches.encrypt(app, name, progress)]
        if changed:
            await self._tell("state encrypted", app=app, branches=changed)
        return len(changed)

    async def _encrypt_what_is_clear(self) -> None:
        """Encrypt what came here in the clear: by rebuilding a lost node, or from before.

        An app that cannot be encrypted now stays as it is, and the doctor counts it.
        """
        node = self._node
        for app in list(node.catalogue.apps):
            if not node.tenure.holds(app):
                continue
            for name, branch in list(node.catalogue.app(app).branches.items()):
                place = node.volume.path(branch.directory)
                if await asyncio.to_thread(node.at_rest.encrypted, [place]):
                    continue
                try:
                    await node.branches.encrypt(app, name, _untold)
                except SkerryError as error:
                    _log.warning("the state of %s/%s is in the clear: %s", app, name, error.what)
                else:
                    await self._tell("state encrypted", app=app, branches=[name])

    async def do_wrap(self, params: s.Wrap, progress: Progress) -> Done:
        """See `keys.wrap`."""
        if params.app not in self._node.catalogue.apps and not self._ring.of(params.app):
            raise NOT_FOUND(f"There is no app {params.app}.", hint="skerry app list")
        self._ring.holder(params.holder)
        await self._ring.ensure(params.app)
        ended = await self._ring.rewrap(params.app, params.holder)
        await self._reseal(params.app)
        said = [f"{each.holder}: {each.said}" for each in ended]
        await self._tell("wrapped", app=params.app, holder=params.holder, before=said)
        return Done(
            f"The keys of {params.app} are wrapped by {params.holder}.",
            next="skerry backup now, since backups from before were made under another key",
        )

    async def _reseal(self, app: str) -> None:
        """Seal secrets under the data key that were sealed under the node's own."""
        node = self._node
        known = node.catalogue.apps.get(app)
        for name, sealed in list(known.secrets.items()) if known else ():
            if not node.vault.is_under_data_key(sealed):
                anew = node.vault.seal(app, name, node.vault.open(app, name))
                await node.catalogue_log.append(events.encode(events.SecretSet(app, name, anew)))

    async def do_unlock(self, params: Nothing, progress: Progress) -> Done:
        """See `keys.unlock`."""
        await asyncio.to_thread(self._ring.unlock)
        left = len(self._ring.locked)
        return Done(f"{left} keys are locked." if left else "Every key is open.")

    async def do_destroy(self, params: s.KeyOf, progress: Progress) -> s.Receipt:
        """See `keys.destroy`."""
        app, node = params.app, self._node
        if app in node.catalogue.apps:
            raise CONFLICT(
                f"{app} is still here, and would not wake again.",
                hint=f"skerry app delete --app {app}",
            )
        wrapped = {each.id: hashlib.sha256(each.wrapped).hexdigest() for each in self._ring.of(app)}
        outside = bool(wrapped) and all(each.holder != NODE for each in self._ring.of(app))
        ended = await self._ring.destroy(app)
        reach = REACH_OUTSIDE if outside else REACH_NODE
        unreached = sorted(node.catalogue.unreached.get(app, ()))
        if unreached:
            reach += (
                f" Not reached: {', '.join(unreached)}, which had a resource and data keys of "
                f"{app}, and was bound to this node no more when the app was deleted."
            )
        said = {
            RECEIPT: DELETION,
            "app": app,
            "how": "its data keys were destroyed",
            "keys": [[each.id, wrapped[each.id], each.holder, each.said] for each in ended],
            "encrypted": [*ENCRYPTED, *([STATE] if node.at_rest.able else [])],
            "reach": reach,
        }
        entry = await node.audit.add(RECEIPT, said)
        return s.Receipt(
            app=app,
            keys=tuple(each.id for each in ended),
            entry=entry,
            said=tuple(f"{each.holder}: {each.said}" for each in ended),
            reach=reach,
            next=f"skerry audit prove {entry} > deletion.proof",
        )

    async def _tell(self, event: str, **said: object) -> int:
        return await self._node.audit.add("key", {"event": event, **said})


def _untold(_done: int, _total: int, _text: str) -> None:
    """Report to nobody."""
