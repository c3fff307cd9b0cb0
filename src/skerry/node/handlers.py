"""What each command of a node does. A method `do_branch_create` carries out `branch.create`."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterator

import msgspec

from skerry import __version__
from skerry.kernel import commands as c
from skerry.kernel import events
from skerry.kernel.app import parse_duration
from skerry.kernel.catalogue import Branch
from skerry.kernel.errors import CONFLICT, INVALID, NOT_FOUND
from skerry.kernel.kind import Address
from skerry.kernel.money import show
from skerry.kernel.names import (
    MAIN,
    SECRET_NAMES,
    check_name,
    host_label,
    is_secret_name,
    reader_name,
)
from skerry.node.audit.receipts import RECEIPT, of_deletion
from skerry.node.cells import Cell, Running
from skerry.node.doctor import examine
from skerry.node.log_lines import ENGINES
from skerry.node.memory import held_bytes, own_bytes
from skerry.node.node import Node
from skerry.node.words import Progress


class Handlers:
    """Carries out commands on a node; whether they are allowed has been decided before."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def do_node_status(self, params: c.Nothing, progress: Progress) -> c.NodeStatus:
        """See `node.status`."""
        node = self._node
        cells = node.supervisor.awake()
        await asyncio.to_thread(node.accountant.sample, [r for x in cells for r in x.running()])
        return c.NodeStatus(
            node=node.name,
            version=__version__,
            http=node.url,
            ports=dict(node.ports),
            home=str(node.home.root),
            volume=node.volume.driver,
            since=node.since,
            apps=len(node.catalogue.apps),
            branches=sum(len(app.branches) for app in node.catalogue.apps.values()),
            memory_bytes=own_bytes(),
            kept_ready_bytes=await asyncio.to_thread(held_bytes, node.kept_ready()),
            awake=tuple(self._process_info(x, r) for x in cells for r in x.running()),
            shared=tuple(self._shared()),
        )

    def _shared(self) -> Iterator[str]:
        """Say of each app that several nodes keep what this node is to it."""
        catalogue = self._node.catalogue
        for name, app in sorted(catalogue.apps.items()):
            shared = app.replication
            if shared is not None:
                what = "served here" if self._node.tenure.holds(name) else "not served here now"
                survive = ", a write survives this node" if shared.survive == "node" else ""
                count = len(shared.members) - 1
                yield f"{name}: {what}, {count} standbys{survive}, epoch {shared.epoch}"
        for place, there in sorted(catalogue.away.items()):
            yield f"{place}: on the node {there}, used from here"
        for name, app in sorted(catalogue.apps.items()):
            if app.guest is not None:
                yield f"{name}/{app.guest.resource}: here for the node {app.guest.home_name}"
        for name, followed in sorted(catalogue.standbys.items()):
            yield f"{name}: stands by for {followed.holder}"

    def _process_info(self, cell: Cell, running: Running) -> c.ProcessInfo:
        used = [("cpu_ms", running.cpu_ms), ("memory_mib_s", int(running.memory_mib_s))]
        cost = sum(self._node.cost(unit, amount) for unit, amount in used)
        return c.ProcessInfo(
            app=cell.app,
            branch=cell.branch,
            process=running.key or ENGINES,
            pid=running.child.pid,
            since=running.started,
            cpu_ms=running.cpu_ms,
            memory_bytes=running.memory_bytes,
            clients=running.holds + sum(len(each) for each in running.sessions.values()),
            cost=show(cost, self._node.config.currency),
        )

    async def do_node_doctor(self, params: c.Nothing, progress: Progress) -> list[c.Check]:
        """See `node.doctor`."""
        found = await asyncio.to_thread(examine, self._node)
        return [*found, *await self._node.services.examine()]

    async def do_node_meter(self, params: c.MeterOf, progress: Progress) -> list[c.Usage]:
        """See `node.meter`."""
        node = self._node
        if params.branch and not params.app:
            raise INVALID("Say whose branch it is.", hint="skerry meter --app <app> --branch …")
        await node.accountant.post()
        prefix = "/".join(part for part in (params.app, params.branch) if part)
        others = node.workloads.known.accounts() | node.services.accounts()
        everyone = {*node.catalogue.apps, *others}
        accounts = [prefix] if prefix else sorted(everyone)
        used = [
            c.Usage(account, unit, amount, show(node.cost(unit, amount), node.config.currency))
            for each in accounts
            for account, unit, amount in node.ledger.used(each)
        ]
        if params.app and not used and params.app not in others:
            # What was deleted has its postings still; a name with none may be misspelt.
            node.catalogue.branch(params.app, params.branch or MAIN)
        return used

    async def do_node_stop(self, params: c.Nothing, progress: Progress) -> c.Done:
        """See `node.stop`."""
        self._node.request_stop()
        left = self._node.workloads.known.running()
        if not left:
            return c.Done("The node is stopping.")
        names = f"{left} workload{'s go' if left > 1 else ' goes'} on without it"
        return c.Done(f"The node is stopping; {names}.", next="skerry workload stop <name>")

    async def do_app_list(self, params: c.Nothing, progress: Progress) -> list[c.AppInfo]:
        """See `app.list`."""
        awake = {cell.app for cell in self._node.supervisor.awake()}
        return [
            c.AppInfo(
                name=app.name,
                url=self._node.url_of(app.name, "main"),
                branches=len(app.branches),
                version=app.branches[MAIN].version if MAIN in app.branches else 0,
                awake=app.name in awake,
            )
            for app in self._node.catalogue.apps.values()
        ]

    async def do_app_deploy(self, params: c.Deploy, progress: Progress) -> c.Deployed:
        """See `app.deploy`."""
        started = self._node.clock.monotonic()
        served = await self._node.deploys.deploy(params.upload, params.branch, progress)
        found = self._deployed(served.branch, started)
        return msgspec.structs.replace(
            found,
            added=tuple(served.added),
            remarks=tuple(served.remarks),
            unchanged=served.unchanged,
        )

    async def do_app_rollback(self, params: c.Rollback, progress: Progress) -> c.Deployed:
        """See `app.rollback`."""
        started = self._node.clock.monotonic()
        branch = await self._node.deploys.rollback(
            params.app, params.branch, params.version, progress
        )
        return self._deployed(branch, started)

    def _deployed(self, branch: Branch, started: float) -> c.Deployed:
        return c.Deployed(
            app=branch.app,
            branch=branch.name,
            version=branch.version,
            url=self._node.url_of(branch.app, branch.name),
            added=(),
            seconds=round(self._node.clock.monotonic() - started, 3),
        )

    async def do_app_delete(self, params: c.OfApp, progress: Progress) -> c.Done:
        """See `app.delete`."""
        node = self._node
        app = node.catalogue.app(params.app)
        if app.replication is not None:
            raise CONFLICT(
                f"Other nodes stand by for {app.name}, and would take it over.",
                why="They keep its state and its data keys until they are told to let go.",
                hint=f"skerry place {app.name} --replicas 0",
            )
        node.abroad.check_own(app.name, "Deleting the app")
        if app.parting is not None:
            node.abroad.check_served(app.name, app.parting.resource)
        # What lies on other nodes goes first: one that does not answer keeps the app from going.
        said = await node.abroad.let_go(app)
        if said:
            how = "what other nodes had of it was removed there"
            await node.audit.add(RECEIPT, of_deletion(app.name, how, said=said))
        for branch in list(app.branches.values()):
            await node.supervisor.sleep(app.name, branch.name)
        await node.catalogue_log.append(events.encode(events.AppDeleted(app.name)))
        branches = list(app.branches.values())
        for branch in branches:
            await node.branches.discard(branch)
        await asyncio.to_thread(node.remove_code, app.name)
        elsewhere = f" On other nodes: {'; '.join(said)}." if said else ""
        what = "branch" if len(branches) == 1 else f"{len(branches)} branches"
        return c.Done(f"{app.name} and its {what} are deleted.{elsewhere}")

    async def do_branch_create(self, params: c.BranchCreate, progress: Progress) -> c.BranchCreated:
        """See `branch.create`."""
        node = self._node
        started = node.clock.monotonic()
        moment = None if params.at is None else self._moment(params.at)
        branch = await node.branches.create(
            params.app, params.name, params.source, moment, progress
        )
        return c.BranchCreated(
            app=branch.app,
            name=branch.name,
            source=params.source,
            url=node.url_of(branch.app, branch.name),
            seconds=round(node.clock.monotonic() - started, 3),
            driver=node.volume.driver,
            connections=self._main_lines(branch),
        )

    def _moment(self, text: str) -> int:
        """Return the nanoseconds since 1970 of a time, or of a duration ago."""
        try:
            return self._node.clock.now() - int(parse_duration(text) * 1e9)
        except ValueError:
            pass
        try:
            moment = datetime.datetime.fromisoformat(text)
        except ValueError as error:
            raise INVALID(
                f"{text!r} is no moment.",
                why="Write 2026-11-23T14:05:00Z, or 10m for ten minutes ago.",
            ) from error
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        if moment.timestamp() * 1e9 > (now := self._node.clock.now()):
            present = datetime.datetime.fromtimestamp(now / 1e9, datetime.UTC)
            raise INVALID(
                f"{text} is in the future.",
                why=f"It is {present:%Y-%m-%dT%H:%M:%SZ} now; without a zone, a time is in UTC.",
                hint="skerry branch create <name>, for a branch as of now",
            )
        return int(moment.timestamp() * 1e9)

    def _main_lines(self, branch: Branch) -> dict[str, str]:
        """Return the first connection line of each resource that has one."""
        found = {}
        for record in self._node.catalogue.declared(branch):
            lines = self._connections(branch, record.name).lines
            if lines:
                found[record.name] = lines[0].line
        return found

    async def do_branch_list(self, params: c.OfApp, progress: Progress) -> list[c.BranchInfo]:
        """See `branch.list`."""
        node = self._node
        awake = {(cell.app, cell.branch) for cell in node.supervisor.awake()}
        return [
            c.BranchInfo(
                app=branch.app,
                name=branch.name,
                parent=branch.parent,
                url=node.url_of(branch.app, branch.name),
                version=branch.version,
                created=branch.created,
                awake=(branch.app, branch.name) in awake,
            )
            for branch in node.catalogue.app(params.app).branches.values()
        ]

    async def do_branch_delete(self, params: c.BranchNamed, progress: Progress) -> c.Done:
        """See `branch.delete`."""
        await self._node.branches.delete(params.app, params.name)
        return c.Done(f"Branch {params.name} is deleted.")

    async def do_branch_reset(self, params: c.BranchNamed, progress: Progress) -> c.Done:
        """See `branch.reset`."""
        branch = await self._node.branches.reset(params.app, params.name, progress)
        return c.Done(f"Branch {branch.name} is a new copy of {branch.parent}.")

    async def do_branch_promote(self, params: c.BranchNamed, progress: Progress) -> c.Done:
        """See `branch.promote`."""
        kept = await self._node.branches.promote(params.app, params.name, progress)
        return c.Done(
            f"main is now what {params.name} is; what it was is kept as {kept.name}.",
            next=f"skerry branch delete {kept.name} --app {params.app}",
        )

    async def do_branch_sleep(self, params: c.OfBranch, progress: Progress) -> c.Done:
        """See `branch.sleep`."""
        self._node.catalogue.branch(params.app, params.branch)
        await self._node.supervisor.sleep(params.app, params.branch)
        return c.Done(f"{params.app}/{params.branch} sleeps.")

    async def do_branch_wake(self, params: c.OfBranch, progress: Progress) -> c.Done:
        """See `branch.wake`."""
        branch = self._node.catalogue.branch(params.app, params.branch)
        for record in self._node.catalogue.declared(branch):
            await self._node.supervisor.ready(params.app, params.branch, record.name)
        return c.Done(f"{params.app}/{params.branch} is awake.")

    async def do_resource_list(
        self, params: c.OfBranch, progress: Progress
    ) -> list[c.ResourceInfo]:
        """See `resource.list`."""
        node = self._node
        branch = node.catalogue.branch(params.app, params.branch)
        spec = node.catalogue.spec(branch)
        infos = []
        places = dict.fromkeys(branch.resources, "")
        places |= {name: each.node for name, each in branch.away.items()}
        for name, place in places.items():
            record = branch.record(name)
            info = node.manifests[record.kind].engine_info
            declared = spec.resource(record.name)
            infos.append(
                c.ResourceInfo(
                    name=record.name,
                    kind=record.kind,
                    id=record.id,
                    awake=node.supervisor.running(branch.app, branch.name, record.name) is not None,
                    engine=f"{info.name} {info.version}".strip(),
                    bindings=declared.bindings if declared else (),
                    node=place,
                )
            )
        return infos

    async def do_resource_connect(self, params: c.Connect, progress: Progress) -> c.Connections:
        """See `resource.connect`."""
        app = self._reader_of(params.app) if params.replica else params.app
        branch = self._node.catalogue.branch(app, params.branch)
        if params.name not in branch.away:
            self._node.catalogue.record(app, params.branch, params.name)
        return self._connections(branch, params.name)

    def _reader_of(self, app: str) -> str:
        """Return the name by which this node's copy of an app is read; raise NOT_FOUND."""
        catalogue = self._node.catalogue
        name = reader_name(app)
        if name is None or name not in catalogue.readers or name in catalogue.apps:
            raise NOT_FOUND(
                f"{self._node.name} keeps no copy of {app} that can be read.",
                why=f"The name {name} is taken by an app." if name in catalogue.apps else "",
                hint="skerry nodes",
            )
        return name

    def _connections(self, branch: Branch, name: str) -> c.Connections:
        node = self._node
        resource = node.workshop.resource(branch, name)
        manifest = node.manifests[resource.ref.kind]
        hostname = f"{host_label(branch.app, branch.name, name)}.{node.config.domain}"
        address = Address(
            http=node.public.url or node.url,
            hostname=hostname,
            http_port=node.public.port(node.http_port),
            ports=node.ports,
        )
        fields: dict[str, str] = {}
        lines: list[c.ConnectionLine] = []
        for wire in manifest.wires:
            if not wire.connection:
                continue
            found: dict[str, str] = manifest.load(wire.connection)(resource, address)
            fields |= found
            lines += [
                c.ConnectionLine(wire.name, each.name, each.language, each.line.format(**found))
                for each in wire.clients
            ]
        return c.Connections(name, resource.ref.kind, fields, tuple(lines), branch.leader)

    async def do_resource_export(self, params: c.Export, progress: Progress) -> c.Download:
        """See `resource.export`."""
        branch = self._node.catalogue.branch(params.app, params.branch)
        download = await self._node.exports.export(branch, params.name, progress)
        if params.sealed:
            key = await self._node.keyring.ensure(branch.app)
            await self._node.archives.seal(download.download, branch.app, key.id, key.key)
        return download

    async def do_resource_import(self, params: c.Import, progress: Progress) -> c.Done:
        """See `resource.import`."""
        branch = self._node.catalogue.branch(params.app, params.branch)
        await self._node.archives.unseal(params.upload, params.app, self._node.keyring.key)
        names = await self._node.exports.restore(branch, params.upload, params.name, progress)
        return c.Done(f"Imported {', '.join(names)}.")

    async def do_secret_set(self, params: c.SecretSet, progress: Progress) -> c.Done:
        """See `secret.set`."""
        node = self._node
        if not is_secret_name(params.name):
            raise INVALID(f"{params.name!r} cannot name a secret.", why=SECRET_NAMES)
        node.abroad.check_own(params.app, "Setting a secret")
        if params.app not in node.catalogue.apps:
            check_name(params.app, "an app")
            created = events.AppCreated(params.app, node.catalogue.next_index)
            await node.catalogue_log.append(events.encode(created))
        await node.keyring.ensure(params.app)
        sealed = node.vault.seal(params.app, params.name, params.value)
        event = events.SecretSet(params.app, params.name, sealed)
        node.masking.forget(params.app)
        await node.catalogue_log.append(events.encode(event))
        node.masking.forget(params.app)
        return c.Done(
            f"{params.name} is set.", next="skerry deploy, so that functions get it at once"
        )

    async def do_secret_list(self, params: c.OfApp, progress: Progress) -> list[c.SecretInfo]:
        """See `secret.list`."""
        app = self._node.catalogue.app(params.app)
        users = dict(self._secret_users(params.app))
        return [c.SecretInfo(name, tuple(users.get(name, ()))) for name in sorted(app.secrets)]

    def _secret_users(self, name: str) -> Iterator[tuple[str, list[str]]]:
        app = self._node.catalogue.app(name)
        main = app.branches.get("main")
        if main is None:
            return
        spec = self._node.catalogue.spec(main)
        for secret in {secret for each in spec.resources for secret in each.secrets}:
            yield secret, [each.name for each in spec.resources if secret in each.secrets]

    async def do_secret_delete(self, params: c.SecretNamed, progress: Progress) -> c.Done:
        """See `secret.delete`."""
        node = self._node
        if params.name not in node.catalogue.app(params.app).secrets:
            raise NOT_FOUND(f"{params.app} has no secret {params.name}.", hint="skerry secret list")
        event = events.SecretDeleted(params.app, params.name)
        node.masking.forget(params.app)
        await node.catalogue_log.append(events.encode(event))
        node.masking.forget(params.app)
        return c.Done(f"{params.name} is deleted.")
