"""An app whose node is killed: how long it is not answered, and whether anything was lost."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from harness import Options, Table, median, percentile, say, scratch, times, wait_until

from node import Node, node
from skerry.kernel.errors import SkerryError

COUNTRIES = {"rock": "SE", "skerry": "FI", "holm": "DE"}
WRITES_BEFORE, WRITES_AFTER = 50, 10
WRITES_TIMED = 200
SECONDS_MAX = 120.0
UNDER_WAY_SECONDS = 0.25
APP = {
    "skerry.toml": """
[app]
name = "shop"
[policy]
jurisdiction = ["EU"]
[functions.web]
entry = "web:app"
bindings = ["kept"]
[kv.kept]
""",
    "web.py": """
from skerry import env

async def app(scope, receive, send):
    path = scope["path"]
    if path.startswith("/put/"):
        await env.kept.aio.put(path[5:], "1")
    found = await env.kept.aio.get(path[5:]) if path.startswith("/get/") else "1"
    await send({"type": "http.response.start", "status": 200 if found else 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})
""",
}


def app_outages(options: Options, writes: Table, table: Table) -> None:
    """Measure outages, and what a write costs that standbys have to have; add them to tables."""
    found = []
    rounds = options.pick(1, 3)
    for number in range(rounds):
        say(f"nodes killed, round {number + 1} of {rounds}")
        with scratch("failover") as top:
            found.append(_round(top))
    seconds = [each[0] for each in found]
    acknowledged, lost = (sum(each[n] for each in found) for n in (1, 2))
    table.add("app on three nodes", median(seconds), max(seconds), rounds, acknowledged, lost)
    alone, kept = ([each for one in found for each in one[n]] for n in (3, 4))
    name = "a function's write over HTTP, no standby"
    writes.add(name, median(alone), percentile(alone, 0.95), "")
    beside = f"{times(median(kept), median(alone))} of no standby"
    writes.add("the same, two standbys have it", median(kept), percentile(kept, 0.95), beside)


def _round(top: Path) -> tuple[float, int, int, list[float], list[float]]:
    with contextlib.ExitStack() as stack:
        nodes = {name: stack.enter_context(_node(top, name)) for name in COUNTRIES}
        names = list(nodes)
        for number, one in enumerate(names):
            for other in names[number + 1 :]:
                invited = nodes[one].call("federation.invite")
                nodes[other].call("federation.join", invitation=invited["invitation"])
        nodes["rock"].deploy(APP)
        alone = _times(nodes["rock"].port)
        wait_until(lambda: _placed(nodes["rock"]), SECONDS_MAX, "the app has its standbys")
        kept = _times(nodes["rock"].port)
        ports = {name: each.port for name, each in nodes.items()}
        writer = _Writer(ports)
        writer.start()
        wait_until(lambda: len(writer.acknowledged) >= WRITES_BEFORE, SECONDS_MAX, "it is written")
        killed = time.perf_counter()
        os.kill(nodes["rock"].pid, signal.SIGKILL)
        wait_until(
            lambda: len(writer.since(killed)) >= WRITES_AFTER, SECONDS_MAX, "writes go on elsewhere"
        )
        writer.over.set()
        writer.join()
        outage = writer.since(killed)[0] - killed
        lost = sum(not _asked(ports, f"/get/{each}") for each in writer.acknowledged)
        return outage, len(writer.acknowledged), lost, alone, kept


def _times(port: int) -> list[float]:
    """Return what some writes take, in milliseconds."""
    found = []
    for number in range(WRITES_TIMED):
        began = time.perf_counter()
        assert _asked({"": port}, f"/put/timed-{number}")
        found.append((time.perf_counter() - began) * 1000)
    return found


@contextlib.contextmanager
def _node(top: Path, name: str) -> Iterator[Node]:
    home = top / name
    home.mkdir()
    (home / "config.toml").write_text(
        f'name = "{name}"\nowner = "{name} AB"\ncountry = "{COUNTRIES[name]}"\n'
        "[ports]\nfederation = 0\nbus = 0\nbus-abroad = 0\n[federation]\nbus = true\n"
    )
    with node(home) as made:
        yield made


def _placed(one: Node) -> bool:
    try:
        one.call("federation.place", app="shop", replicas=2, survive="node")
    except SkerryError as error:
        if not error.problem.temporary:
            raise
        return False
    return True


class _Writer(threading.Thread):
    """Writes numbers at whatever node answers."""

    def __init__(self, ports: dict[str, int]) -> None:
        super().__init__(daemon=True)
        self._ports = ports
        self.over = threading.Event()
        self.acknowledged: list[int] = []
        self._times: list[float] = []

    def since(self, moment: float) -> list[float]:
        """Return when writes were acknowledged after a moment; not one that was under way then."""
        return [each for each in self._times if each > moment + UNDER_WAY_SECONDS]

    def run(self) -> None:
        """Write until it is over."""
        number = 0
        while not self.over.is_set():
            number += 1
            if _asked(self._ports, f"/put/{number}"):
                self.acknowledged.append(number)
                self._times.append(time.perf_counter())
            else:
                time.sleep(0.02)


def _asked(ports: dict[str, int], path: str) -> bool:
    """Tell whether some node answers a request well."""
    for port in ports.values():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", path, headers={"Host": "shop.localhost"})
            if connection.getresponse().status == 200:
                return True
        except (OSError, http.client.HTTPException):
            continue
        finally:
            connection.close()
    return False
