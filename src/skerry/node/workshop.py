"""The workshop: it prepares what a process is made of: directories, keys and its sandbox."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

import msgspec

from skerry.kernel.apart import WORK, Program
from skerry.kernel.app import AppSpec, ResourceSpec
from skerry.kernel.catalogue import Branch, Catalogue, ResourceRecord
from skerry.kernel.errors import NOT_FOUND, UNSUPPORTED
from skerry.kernel.keys import Keys, derive
from skerry.kernel.kind import Resource
from skerry.kernel.manifest import Manifest
from skerry.kernel.policy import Decision, Policy, Request, enforce
from skerry.node.abroad import Abroad
from skerry.node.archives import app_spool
from skerry.node.cell.journal import SOCKET
from skerry.node.cell.spec import PermitCall, ProcessSpec, SlotSpec, http_socket, scratch
from skerry.node.cell.warden import WardenSpec
from skerry.node.cells import SHARED, Running
from skerry.node.gpus import Gpus
from skerry.node.home import Home
from skerry.node.keys.at_rest import AtRest
from skerry.node.sandbox import Confinement, Limits, abilities, identities
from skerry.node.sandbox.cgroup import Cgroups, Group
from skerry.node.secrets import Vault
from skerry.node.token import rights
from skerry.node.volume import Volume
from skerry.node.zygote import expose_paths

ENGINE_READ = ("/proc",)
"""Engines look after children of their own, and find them there."""

SHARED_MEMORY = "/dev/shm"  # noqa: S108

ENGINE_MEMORY_BYTES = 4 << 30
ENGINE_LIMITS = Limits(memory_bytes=ENGINE_MEMORY_BYTES, processes=512, open_files=65536)


class Workshop:
    """Makes the specifications of processes from the catalogue.

    `url` is the node's, once it listens; `policy` is asked for every resource; of `gpus`, engines
    share those that are theirs.
    """

    def __init__(
        self,
        *,
        home: Home,
        node_name: str,
        group_prefix: str,
        catalogue: Catalogue,
        manifests: Mapping[str, Manifest],
        volume: Volume,
        vault: Vault,
        policy: Policy,
        cgroups: Cgroups,
        engine_read: tuple[str, ...] = (),
        gpus: Gpus,
        at_rest: AtRest,
        abroad: Abroad,
    ) -> None:
        self._abroad = abroad
        self._home = home
        self._engine_read = engine_read
        self.gpus = gpus
        self._node_name = node_name
        self._at_rest = at_rest
        self._group_prefix = group_prefix
        self._catalogue = catalogue
        self._manifests = manifests
        self._volume = volume
        self._vault = vault
        self.policy = policy
        self._cgroups = cgroups
        self.url = ""
        self._node_key = home.node_key()
        self._identities = identities()
        self._hidden = _hidden(home)

    def keys(self, record: ResourceRecord) -> tuple[bytes, bytes]:
        """Return the key of a resource, and the one that all its branches share.

        A reader has those of what it reads, so that its passwords are the same.
        """
        origin = self._catalogue.origins.get(record.id, record.id)
        return self._key("resource", origin), self._key("lineage", record.lineage)

    def _key(self, what: str, name: str) -> bytes:
        """Return a key that this node derives, or that a resource brought from another node."""
        brought = self._catalogue.keys.get(f"{what}/{name}")
        if brought is not None:
            return self._vault.unseal_key(f"{what}/{name}", brought)
        return derive(self._node_key, what, name)

    def state(self, branch: Branch, record: ResourceRecord) -> Path:
        """Return the directory of a resource's state."""
        return self._volume.path(branch.directory) / record.name

    def run(self, record: ResourceRecord) -> Path:
        """Return the directory of a resource's sockets."""
        return self._home.run / record.id

    def code(self, app: str, version: int) -> Path:
        """Return where a version of an app was unpacked."""
        return self._home.apps / app / str(version) / "code"

    def resource(self, branch: Branch, name: str) -> Resource:
        """Return a resource as fronts and connection lines see it, also one that is away.

        Raises NOT_FOUND if the served version does not declare it.
        """
        record = branch.record(name)
        spec = self.declaration(branch, name)
        manifest = self._manifests[record.kind]
        return Resource(
            ref=branch.ref(name),
            id=record.id,
            directory=self.state(branch, record),
            config=msgspec.convert(spec.config, manifest.config),
            keys=Keys(*self.keys(record)),
        )

    def declaration(self, branch: Branch, name: str) -> ResourceSpec:
        """Return what the served version declares of a resource; raise NOT_FOUND if nothing."""
        spec = self._catalogue.spec(branch).resource(name)
        if spec is None:
            raise NOT_FOUND(
                f"Version {branch.version} of {branch.app} does not declare {name}.",
                why="Its state is kept.",
                hint="Declare it in skerry.toml again, or skerry rollback.",
            )
        if branch.leader and not self._manifests[spec.kind].readable:
            raise UNSUPPORTED(
                f"A copy of {name} is not read by itself.",
                why=f"It is a {spec.kind}, which runs where {branch.origin} is served.",
                hint=f"skerry connect {name} --app {branch.origin}, on {branch.leader}",
            )
        return spec

    async def process(self, branch: Branch, key: str, instance: str) -> tuple[ProcessSpec, Group]:
        """Prepare a process of a branch: decide, make its directories, and say what it is."""
        self._at_rest.check(self._volume.path(branch.directory))
        spec = self._catalogue.spec(branch)
        declared = self._catalogue.declared(branch)
        served = [each for each in declared if self._serves(key, branch, each)]
        names = {bound for each in served for bound in _bindings(spec, each.name)}
        if key == SHARED or branch.leader:
            names = set()
        bound = self._abroad.bound(branch, names)
        for record in (*served, *bound):
            self.decide(branch, record)
            self.make_directories(branch, record)
        tight = key != SHARED and not branch.leader
        limits = self._limits(spec, key)
        group = self.group(instance, limits)
        confinement = self._confinement(branch, served, bound, limits, group, tight=tight)
        process = ProcessSpec(
            instance=instance,
            code=str(self.code(branch.app, branch.version)),
            url=self.url,
            served=tuple(self.slot(branch, each) for each in served),
            bound=tuple(self.slot(branch, each) for each in bound),
            confinement=confinement,
            node=self._node_name,
            environments="" if tight else str(self._home.environments),
        )
        return process, group

    def group(self, instance: str, limits: Limits = Limits()) -> Group:  # noqa: B008
        """Make the group of a process, or bound the one it has."""
        return self._cgroups.create(f"{self._group_prefix}.{instance}", limits)

    def apart(
        self, branch: Branch, instance: str, number: str, program: Program, run: Path
    ) -> tuple[WardenSpec, Group]:
        """Prepare a program apart of a process: both its sandboxes, and its group.

        The outer one is of the program and its warden together: the app's user, nothing of other
        apps in sight, what it may run. In the inner one only the work folder can be written to.
        Raises UNSUPPORTED.
        """
        if not self._hidden:
            raise UNSUPPORTED(
                "This machine cannot keep a program apart.",
                why="It makes no namespaces for this user.",
                hint="skerry doctor",
            )
        uid = self.uid(branch.app)
        folder, wire = str(run / program.folder), http_socket(str(run), instance)
        limits = Limits(
            memory_bytes=program.memory_bytes,
            processes=program.processes,
            cpu_cores=program.cpu_cores,
            open_files=1024,
            file_bytes=program.disk_bytes,
        )
        group = self.group(f"{instance}.{number}", limits)
        outer = Confinement(
            uid=uid,
            gid=uid,
            read=(wire,),
            execute=(*expose_paths(), str(self._home.environments)),
            write=(folder,),
            limits=limits,
            cgroup=msgspec.structs.replace(group.membership, paths=()),
            # Unix sockets are not Landlock's matter: those of others are not to be seen at all.
            hide=self._hidden,
            listen=True,
        )
        inner = Confinement(
            execute=outer.execute,
            write=(f"{folder}/{WORK}",),
            listen=True,
            local=False,
            descriptors=(),
        )
        return WardenSpec(program, folder, wire, outer, inner), group

    def own_process(self, branch: Branch, record: ResourceRecord) -> bool:
        """Tell whether a process serves this resource alone.

        So it is with code of users, and with what a reader serves, which is renewed one by one.
        """
        return bool(branch.leader) or self._manifests[record.kind].own_process

    def _serves(self, key: str, branch: Branch, record: ResourceRecord) -> bool:
        """Tell whether a process is to serve a resource; nobody does while it is on its way."""
        app = self._catalogue.apps.get(branch.app)
        if app is not None and app.parting is not None and app.parting.resource == record.name:
            return False
        return record.name == key if self.own_process(branch, record) else key == SHARED

    def decide(self, branch: Branch, record: ResourceRecord) -> None:
        """Ask whether a resource may be used here, and lie where it does if it is away."""
        away = branch.away.get(record.name)
        for where in (self._node_name, *([away.node] if away else ())):
            request = Request(
                principal=f"app:{branch.app}",
                action="resource:wake",
                where=where,
                app=branch.app,
                branch=branch.name,
                kind=record.kind,
                resource=record.name,
            )
            enforce(self.policy, request)

    def permit(self, branch: Branch, asked: PermitCall) -> Decision:
        """Decide whether something of a resource may go to a place outside the node.

        Facts are not taken from a process: code of users may run in it.
        """
        record = branch.record(asked.resource)
        request = Request(
            principal=f"app:{branch.app}",
            action=asked.action,
            where=str(asked.place),
            app=branch.app,
            branch=branch.name,
            kind=record.kind,
            resource=record.name,
            place=msgspec.structs.replace(asked.place, facts=()),
            encrypted=asked.encrypted,
        )
        with rights.under(None):
            return enforce(self.policy, request)

    def make_directories(self, branch: Branch, record: ResourceRecord) -> None:
        """Make what a resource needs before its process starts; state is never touched."""
        uid = self.uid(branch.app)
        here = record.name not in branch.away
        for path in (*([self.state(branch, record)] if here else ()), self.run(record)):
            path.mkdir(parents=True, exist_ok=True)
            if uid is not None:
                os.chown(path, uid, uid)
            path.chmod(0o700)

    def uid(self, app: str) -> int | None:
        """Return the user that an app's processes run as; None is the node's own."""
        return self.uid_of((self._catalogue.known(app) or self._catalogue.app(app)).index)

    def uid_of(self, index: int) -> int | None:
        """Return the user of the app that has a number."""
        return self._identities.identity(index).uid if self._identities else None

    def slot(self, branch: Branch, record: ResourceRecord) -> SlotSpec:
        """Say what a resource is to the process that serves it or binds it."""
        app = self._catalogue.spec(branch)
        spec = app.resource(record.name)
        own, lineage = self.keys(record)
        return SlotSpec(
            ref=branch.ref(record.name),
            id=record.id,
            directory=str(self.state(branch, record)),
            run=str(self.run(record)),
            config=spec.config if spec else {},
            own=own,
            lineage=lineage,
            idle_seconds=spec.idle_seconds if spec else 0.0,
            bindings=_bindings(app, record.name),
            secrets=self._secrets(branch, spec),
            journal=str(self.journal(record)) if self._is_replicated(branch, record) else "",
            leader=branch.leader,
            away=record.name in branch.away,
        )

    def sealed(self, branch: Branch, key: str) -> dict[str, bytes]:
        """Return the secrets that a process is given, sealed: they differ once one is set anew."""
        if branch.leader:
            return {}
        spec = self._catalogue.spec(branch)
        declared = self._catalogue.declared(branch)
        served = [each.name for each in declared if self._serves(key, branch, each)]
        held = {*served, *(bound for name in served for bound in _bindings(spec, name))}
        named = {secret for each in spec.resources if each.name in held for secret in each.secrets}
        known = self._catalogue.app(branch.app).secrets
        return {name: known[name] for name in sorted(named) if name in known}

    def _secrets(self, branch: Branch, spec: ResourceSpec | None) -> dict[str, str]:
        """Return the secrets that a resource is given; a reader, which sends nothing, has none."""
        if spec is None or branch.leader:
            return {}
        return self._vault.open_named(branch.app, spec.secrets)

    def journal(self, record: ResourceRecord) -> Path:
        """Return the socket on which this node hears of writes to a resource's state."""
        return self.run(record) / SOCKET

    def _is_replicated(self, branch: Branch, record: ResourceRecord) -> bool:
        app = self._catalogue.apps.get(branch.app)
        shared = app is not None and app.replication is not None and not branch.leader
        return shared and bool(self._manifests[record.kind].replica)

    def _limits(self, spec: AppSpec, key: str) -> Limits:
        resource = spec.resource(key) if key != SHARED else None
        if resource is None:
            return ENGINE_LIMITS
        return Limits(
            memory_bytes=int(resource.config.get("memory_bytes", ENGINE_MEMORY_BYTES)),
            processes=int(resource.config.get("processes", 64)),
            open_files=4096,
        )

    def _confinement(
        self,
        branch: Branch,
        served: list[ResourceRecord],
        bound: list[ResourceRecord],
        limits: Limits,
        group: Group,
        *,
        tight: bool,
    ) -> Confinement:
        uid = self.uid(branch.app)
        writable = [str(self.run(each)) for each in (*served, *bound)]
        if not tight:
            writable.append(str(app_spool(self._home.spool, branch.app, uid)))
        here = [each for each in (*served, *bound) if each.name not in branch.away]
        writable += [str(self.state(branch, each)) for each in here]
        return Confinement(
            uid=uid,
            gid=uid,
            read=() if tight else (*ENGINE_READ, *self._engine_read),
            execute=(
                *expose_paths(),
                str(self.code(branch.app, branch.version).parent),
                *(() if tight else (str(self._home.environments),)),
            ),
            write=(*writable, *(() if tight else (SHARED_MEMORY,))),
            devices=() if tight else self._devices(served),
            limits=limits,
            tight=tight,
            # The node moves it into its group, meanwhile.
            cgroup=msgspec.structs.replace(group.membership, paths=()),
            hide=() if uid is not None else self._hidden,
        )

    def _devices(self, served: list[ResourceRecord]) -> tuple[str, ...]:
        """Return the devices that lead to the GPUs of engines, if one of these uses any."""
        if not any(self._manifests[each.kind].gpu for each in served):
            return ()
        minors = tuple(each.minor for each in self.gpus.for_engines())
        return tuple(self.gpus.devices_of(minors).values()) if minors else ()

    def clear_after(self, running: Running) -> None:
        """Remove what a process that ended listened on, and its temporary files."""
        for resource_id in running.resources.values():
            run = str(self._home.run / resource_id)
            Path(http_socket(run, running.instance)).unlink(missing_ok=True)
            shutil.rmtree(scratch(run, running.instance), ignore_errors=True)

    def clear_run(self, record_id: str) -> None:
        """Remove the sockets of a resource that sleeps."""
        shutil.rmtree(self._home.run / record_id, ignore_errors=True)

    def kill(self, running: Running) -> None:
        """Kill a process and all that it started."""
        running.group.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.child.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.child.pid, signal.SIGKILL)


def _hidden(home: Home) -> tuple[str, ...]:
    """Return what cells must not see where they share the node's user, if it can be hidden.

    Landlock does not guard unix sockets, and the node's own socket is in its run directory.
    """
    if not any(each.name == "namespaces" and each.ok for each in abilities()):
        return ()
    return tuple(sorted({str(home.root), str(home.run)}))


def _bindings(spec: AppSpec, name: str) -> tuple[str, ...]:
    resource = spec.resource(name)
    return resource.bindings if resource else ()
