"""Which requests are for the HTTP port of a workload.

host  shop.workload.localhost           its first HTTP port
      8081--shop.workload.localhost     another one
      whatever the workload itself names, outside the node's own domain
path  /~shop/…  and  /~shop:8081/…
"""

from __future__ import annotations

from skerry.kernel.errors import NOT_FOUND
from skerry.node.router.head import RequestHead
from skerry.node.router.targets import Finder, Target
from skerry.node.workload.record import HOSTS_BELOW
from skerry.node.workload.supervisor import Workloads


def make_finder(workloads: Workloads, domain: str) -> Finder:
    """Return what finds the workload that a request is for."""
    suffix = f".{HOSTS_BELOW}.{domain}".encode()
    own = f".{domain}".encode()

    def find(host: bytes, head: RequestHead) -> Target | None:
        if host.endswith(suffix):
            label = host[: -len(suffix)].rpartition(b".")[2].decode("ascii", "replace")
            number, _, name = label.rpartition("--")
            return _target(workloads, name, number, head.target)
        if head.target.startswith(b"/~"):
            return _by_path(workloads, head.target)
        if workloads.known.any_hosts and not host.endswith(own):
            name = workloads.known.by_host(host.decode("ascii", "replace")) or ""
            return _target(workloads, name, "", head.target) if name else None
        return None

    return find


def _by_path(workloads: Workloads, target: bytes) -> Target:
    path, mark, query = target.partition(b"?")
    first, slash, rest = path[2:].partition(b"/")
    name, _, number = first.decode("ascii", "replace").partition(":")
    prefix = path[: 2 + len(first)]
    line = (slash + rest or b"/") + mark + query
    return _target(workloads, name, number, line, prefix)


def _target(
    workloads: Workloads, name: str, number: str, line: bytes, prefix: bytes = b""
) -> Target:
    wanted = int(number) if number.isascii() and number.isdigit() and len(number) < 6 else None
    found = workloads.known.port_socket(name, wanted) if wanted or not number else None
    if found is None:
        raise NOT_FOUND("Nothing is served here.")
    name, path, port = found
    label = f"{port}--{name}" if number else name
    return Target(
        app=f"~{name}",
        branch="",
        resource="",
        path=line,
        prefix=prefix,
        shares_origin=bool(prefix),
        socket=path,
        own_host=f"{label}.{HOSTS_BELOW}",
    )
