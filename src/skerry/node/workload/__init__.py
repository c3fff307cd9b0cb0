"""Workloads: programs of others in a sandbox of a chosen strength, never with more than agreed.

`supervisor.Workloads` starts, watches and stops them; `WorkloadSpec` says what one is. Every
workload has a keeper, a small process of its own that outlives the node: a node that is down ends
no lease.
"""

from skerry.node.workload.spec import (
    Exit,
    Mount,
    Port,
    Restart,
    State,
    WorkloadInfo,
    WorkloadSpec,
    WorkloadUsage,
)

__all__ = [
    "Exit",
    "Mount",
    "Port",
    "Restart",
    "State",
    "WorkloadInfo",
    "WorkloadSpec",
    "WorkloadUsage",
]
