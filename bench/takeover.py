"""Measure how long a standby takes to take over, and what a write costs that it has to have.

    python bench/takeover.py [LEASE_SECONDS]

Four nodes on this machine, as in `tests/federation/test_replicas.py`; a writer goes through a
function to SQLite, over HTTP. The node that serves is killed with SIGKILL. Leases lie in a folder
here, so the time of a real store of leases comes on top.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time

from harness import ROOT, load_average, say

sys.path.insert(0, str(ROOT))

from tests.federation.test_replicas import NODES, Cluster, Writer, until

from skerry.testing.nodes import open_directory

WRITES = 200


def main() -> int:
    """Run it once, and print the figures."""
    lease = sys.argv[1] if len(sys.argv) > 1 else "4"
    with open_directory() as top:
        cluster = Cluster(top, lease)
        try:
            cluster.begin()
            cluster.deploy("rock", "shop")
            say(f"load {load_average()}, lease {lease} s")
            say(f"a write, no standby: {median(cluster):.1f} ms")
            cluster.call("rock", "federation.place", app="shop", replicas=2, survive="node")
            say(f"a write, two standbys have it: {median(cluster):.1f} ms")
            take_over(cluster)
        finally:
            cluster.stop()
    return 0


def median(cluster: Cluster) -> float:
    """Return what a write takes, in milliseconds."""
    times = []
    for number in range(WRITES):
        began = time.perf_counter()
        assert cluster.get("rock", f"/put/{number}")[0] == 200
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def take_over(cluster: Cluster) -> None:
    """Kill the node that serves under a writer; say how long nothing was acknowledged."""
    others = [name for name in NODES if name != "rock"]
    writer = Writer(cluster, "shop", "rock", *others)
    writer.start()
    until(lambda: len(writer.acknowledged) > WRITES, "writes are acknowledged")
    os.killpg(cluster.processes["rock"].pid, signal.SIGKILL)
    killed = time.perf_counter()
    cluster.processes["rock"].wait()
    time.sleep(0.1)
    before = len(writer.acknowledged)
    until(lambda: len(writer.acknowledged) > before, "writes go on")
    seconds = time.perf_counter() - killed
    acknowledged = writer.finish()
    holder = cluster.holder("shop", *others)
    held = int(cluster.get(holder, "/")[1].split()[0])
    lost = max(0, len(acknowledged | set(range(WRITES))) - held)
    say(f"from SIGKILL to the next acknowledged write: {seconds:.1f} s, lost: {lost}")


if __name__ == "__main__":
    raise SystemExit(main())
