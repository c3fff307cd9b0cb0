"""What the node tells a process of a cell at its start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.apart import Program
from skerry.kernel.names import ResourceRef
from skerry.kernel.policy import Place
from skerry.node.sandbox import Confinement

AS_OF = "as-of"
"""In the sockets' directory of a reader's resource: as of when its copy is, in RFC 3339."""


class SlotSpec(msgspec.Struct, frozen=True):
    """A resource as a process sees it; `own` and `lineage` are its keys.

    `journal` is the socket on which the node hears of writes to the state, if it is replicated.
    `leader` is the node that writes the state, if this is a copy that is only read. `away` tells of
    a resource that is bound here and lies on another node.
    """

    ref: ResourceRef
    id: str
    directory: str
    run: str
    config: dict[str, Any]
    own: bytes
    lineage: bytes
    idle_seconds: float
    bindings: tuple[str, ...] = ()
    secrets: dict[str, str] = {}
    journal: str = ""
    leader: str = ""
    away: bool = False

    def __repr__(self) -> str:
        return f"SlotSpec({self.ref})"


class ProcessSpec(msgspec.Struct, frozen=True, tag="cell"):
    """A process: the resources that it serves, and those that are bound to them.

    `instance` is unique for each process; counters are named after it.
    """

    instance: str
    code: str
    url: str
    served: tuple[SlotSpec, ...]
    bound: tuple[SlotSpec, ...]
    confinement: Confinement
    node: str = ""
    environments: str = ""


class PermitCall(msgspec.Struct, frozen=True):
    """What a process asks for one of its resources: may this go there?"""

    resource: str
    action: str
    place: Place
    encrypted: bool = False


class ApartCall(msgspec.Struct, frozen=True):
    """What a process asks for one of its resources: run this apart."""

    resource: str
    program: Program


class ApartEnd(msgspec.Struct, frozen=True):
    """What the node knows of a program apart that has ended."""

    cpu_ms: int
    memory_bytes: int
    out_of_memory: bool


def packages_beside(code: Path) -> Path:
    """Return where the packages that an app requires lie, beside its code."""
    return code.parent / "packages"


def http_socket(run: str, instance: str) -> str:
    """Return the path of the unix socket on which a process serves a resource's HTTP wire."""
    return f"{run}/{instance}.sock"


def scratch(run: str, instance: str) -> str:
    """Return the folder for the temporary files of a process; it goes when the process ends."""
    return f"{run}/scratch-{instance}"
