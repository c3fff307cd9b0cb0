"""The ladder: how strongly the program of a workload is kept from the machine."""

import sys

from skerry.node.workload.classes.base import IsolationClass, Launch, Place, missing
from skerry.node.workload.classes.bubblewrap import Bubblewrap
from skerry.node.workload.classes.crun import Crun
from skerry.node.workload.classes.gvisor import Gvisor
from skerry.node.workload.classes.wasm import Wasm
from skerry.node.workload.spec import ClassInfo

LADDER: dict[str, IsolationClass] = {
    each.name: each for each in (Wasm(), Bubblewrap(), Crun(), Gvisor())
}
"""Every class by its name."""


def probe(user: int | None) -> tuple[ClassInfo, ...]:
    """Try every class on this machine, as the user that a workload runs as. Blocks."""
    if sys.platform != "linux":
        why = "Workloads need Linux: its namespaces, cgroups and process descriptors."
        return tuple(missing(each, why, "") for each in LADDER.values())
    return tuple(each.probe(user) for each in LADDER.values())


__all__ = ["LADDER", "IsolationClass", "Launch", "Place", "probe"]
