"""The ladder: how strongly the program of a workload is kept from the machine."""

from skerry.node.workload.classes.base import IsolationClass, Launch, Place
from skerry.node.workload.classes.bubblewrap import Bubblewrap
from skerry.node.workload.classes.crun import Crun
from skerry.node.workload.classes.gvisor import Gvisor
from skerry.node.workload.classes.wasm import Wasm

LADDER: dict[str, IsolationClass] = {
    each.name: each for each in (Wasm(), Bubblewrap(), Crun(), Gvisor())
}
"""Every class by its name."""

__all__ = ["LADDER", "IsolationClass", "Launch", "Place"]
