"""Where a request goes: to a resource of a branch, found from its host, path or credential.

host  web--pr-42--newsroom.localhost     a resource; further labels before it are its own
      pr-42--newsroom.localhost          a branch: the app's entry
      newsroom.localhost                 main
path  /@newsroom/main/@search/…          the same without any name service
      /@newsroom/main/…                  the app's entry
      what a finder knows, by host or path: something of the node that is no resource
else  a wire's claim on the request (an access key, a bearer token, a path of its protocol)
else  the node itself: API and console
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from skerry.kernel.catalogue import Branch, Catalogue
from skerry.kernel.errors import BUSY, NOT_FOUND
from skerry.kernel.kind import Claim
from skerry.kernel.manifest import Manifest
from skerry.kernel.names import MAIN, parse_host_label
from skerry.node.router.head import RequestHead


@dataclass(frozen=True, slots=True)
class Target:
    """A resource, and the target line and path prefix that it is given; no app means the node.

    `shares_origin`: it was not selected by a host of its own. `node`: the app or the resource was
    moved to that node, and the request goes there as it came. `socket` is where it answers if it is
    no resource, and `own_host` then the host before the node's domain that selects it.
    """

    app: str
    branch: str
    resource: str
    path: bytes
    prefix: bytes = b""
    shares_origin: bool = False
    node: str = ""
    socket: str = ""
    own_host: str = ""


Finder = Callable[[bytes, RequestHead], Target | None]
"""Finds the target of a request among what is no resource, by its host (in lower case) or path."""

NODE = ""
"""The app of a target that is the node itself."""
_PATHS = (b"/@", b"/%40")


class Targets:
    """Finds targets in the catalogue."""

    def __init__(
        self,
        catalogue: Catalogue,
        manifests: Mapping[str, Manifest],
        domain: str,
        finders: Sequence[Finder] = (),
    ) -> None:
        self._catalogue = catalogue
        self._finders = finders
        self._suffix = f".{domain}".encode()
        self._speak_http = {
            name
            for name, manifest in manifests.items()
            if any(wire.application for wire in manifest.wires)
        }
        self._claims: Sequence[Claim] = [
            _late(manifest, wire.claim)
            for manifest in manifests.values()
            for wire in manifest.wires
            if wire.claim
        ]

    def node_of(self, app: str, branch: str, resource: str) -> str:
        """Return the node that an app, or a resource of it, was moved to; '' if it was not."""
        moved = self._catalogue.node_of(app)
        return moved or self._catalogue.node_of_resource(app, branch, resource)

    def find(self, head: RequestHead) -> Target:
        """Return the target of a request; raise NOT_FOUND if what it names does not exist."""
        host = head.host.rsplit(b":", 1)[0].lower()
        for finder in self._finders:
            other = finder(host, head)
            if other is not None:
                return other
        if host.endswith(self._suffix):
            label = host[: -len(self._suffix)].rsplit(b".", 1)[-1].decode("ascii", "replace")
            place = parse_host_label(label)
            if place is not None:
                app, branch, resource = place
                node = self.node_of(app, branch, resource or "")
                if node:
                    return Target(app, branch, resource or "", head.target, node=node)
                resource = self._resource(app, branch, resource)
                return Target(app, branch, resource, head.target)
        if head.target.startswith(_PATHS):
            return self._by_path(head.target)
        claim = head.as_claim()
        for each in self._claims:
            resource_id = each(claim) or ""
            found = self._catalogue.find(resource_id)
            moved = self._catalogue.node_of_id(resource_id) if found is None else None
            if moved:
                return Target("", "", "", head.target, shares_origin=True, node=moved)
            if found is not None:
                return Target(*found, head.target, shares_origin=True)
        return Target(NODE, "", "", head.target)

    def _by_path(self, target: bytes) -> Target:
        path, mark, query = target.partition(b"?")
        parts = path.split(b"/", 4)
        names = [_plain(part).decode("ascii", "replace") for part in parts[1:4]]
        app = names[0][1:]
        branch = names[1] if len(names) > 1 and names[1] else MAIN
        resource = names[2][1:] if len(names) > 2 and names[2].startswith("@") else ""
        node = self.node_of(app, branch, resource)
        if node:
            return Target(app, "", "", target, shares_origin=True, node=node)
        if resource in self._branch(app, branch).resources:
            prefix = b"/".join(parts[:4])
        else:
            resource = ""
            prefix = b"/".join(parts[:3])
        resource = self._resource(app, branch, resource)
        rest = (path[len(prefix) :] or b"/") + mark + query
        return Target(app, branch, resource, rest, prefix, shares_origin=True)

    def _branch(self, app: str, branch: str) -> Branch:
        """Return a branch; strangers are not told what else there is."""
        found = self._catalogue.known(app)
        if found is not None and found.leaving is not None:
            raise BUSY(f"{app} is being moved to the node {found.leaving.to}.")
        served = found.branches.get(branch) if found is not None else None
        if served is None:
            raise NOT_FOUND("Nothing is served here.")
        return served

    def _resource(self, app: str, branch: str, resource: str | None) -> str:
        """Return the resource that answers over HTTP: the one that is named, or the entry."""
        found = self._branch(app, branch)
        spec = self._catalogue.spec(found)
        if not resource:
            resource = spec.entry
        if resource is None:
            raise NOT_FOUND(
                f"{app} has no function that answers its URL.",
                why="It declares none, or several of which none is named web.",
                hint='Set entry = "<function>" under [app] in skerry.toml.',
            )
        app_known = self._catalogue.apps.get(app)
        parting = app_known.parting if app_known is not None else None
        if parting is not None and parting.resource == resource:
            raise BUSY(f"{resource} of {app} is being moved to the node {parting.to}.")
        record = found.resources.get(resource)
        if record is None or record.kind not in self._speak_http or not spec.resource(resource):
            raise NOT_FOUND("Nothing is served here.")
        return resource


def _plain(part: bytes) -> bytes:
    """Return a part of a path with its first sign as `@`, which some clients send as `%40`."""
    return b"@" + part[3:] if part.startswith(b"%40") else part


def _late(manifest: Manifest, dotted: str) -> Claim:
    """Return a claim whose code is imported when the first request needs it."""
    loaded: list[Callable[..., str | None]] = []

    def claim(head: object) -> str | None:
        if not loaded:
            loaded.append(manifest.load(dotted))
        return loaded[0](head)

    return claim
