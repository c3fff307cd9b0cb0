"""The time of a decision, beside other engines that decide, and of the audit log beside a peer."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cedarpy
from harness import Options, Report, Table, interleave, median, peers, say, times

from skerry.kernel.catalogue import Catalogue
from skerry.kernel.clock import SystemClock
from skerry.kernel.policy import Place, Request
from skerry.kernel.terms import PolicySpec
from skerry.node.audit.log import AuditLog
from skerry.node.audit.note import Signer
from skerry.node.policy.compiled import cedar_text as text_of
from skerry.node.policy.engine import Engine

SPEC = {"jurisdiction": ["EU", "EEA"], "exclude_reach": ["US"], "owners": ["Elastx AB"]}
PLACE = ("elastx", "SE")


def measure(options: Options) -> Report:
    """Decide on one place in turns with peers; append entries to logs."""
    report = Report(
        "CPU time of a decision with its rules, facts and evidence: three terms on one provider's "
        "site, in a process that asks again and again. Peers decide on the same facts, without "
        "reasons. Below, an entry of the audit log from one batch, synced and under a signed head."
    )
    rounds = options.pick(200, 2000)
    ways = {"Skerry, terms": ours(rounds), "Cedar, parsed at each call": cedar_text(rounds)}
    for name, code in PEERS.items():
        try:
            ways[name] = peer(name, code, rounds)
        except (OSError, subprocess.SubprocessError) as error:
            report.skip(name, str(error))
    say(f"{len(ways)} engines")
    for way in ways.values():
        way()
    found = interleave(ways, options.pick(3, 9))
    table = Table(("engine", "CPU µs a decision", "of Skerry"))
    base = median(found["Skerry, terms"])
    for name, values in found.items():
        table.add(name, round(median(values), 1), times(median(values), base))
    report.tables.append(table)
    log = Table(("audit log", "µs an entry", "batch"))
    for batch in (1, 100, 1000):
        log.add("append, synced, with a signed head", round(append(batch, rounds), 1), batch)
    report.tables.append(log)
    report.data = {"microseconds": found}
    return report


def ours(rounds: int) -> Callable[[], float]:
    """Return what times decisions of the engine that a node asks."""

    spec = PolicySpec(
        jurisdiction=tuple(SPEC["jurisdiction"]),
        exclude_reach=tuple(SPEC["exclude_reach"]),
        owners=tuple(SPEC["owners"]),
    )
    engine = Engine("n1", Catalogue(), SystemClock())
    place = Place(*PLACE)
    request = Request("operator", "backup:send", "elastx", "paper", "main", place=place)
    assert engine.decide_under((spec,), request).allowed
    return timed(lambda: engine.decide_under((spec,), request), rounds)


def cedar_text(rounds: int) -> Callable[[], float]:
    """Return what times the same rules as text, as a caller without a cache would ask."""

    text = text_of(PolicySpec(**{name: tuple(values) for name, values in SPEC.items()}))
    place = {
        "conflict": False,
        "jurisdictions": ["SE", "EU", "EEA"],
        "reach": ["SE"],
        "reach_known": True,
        "owners": ["Elastx AB"],
    }
    entities = [{"uid": {"type": "Place", "id": "x"}, "attrs": place, "parents": []}]
    request = {
        "principal": 'Principal::"operator"',
        "action": 'Action::"backup:send"',
        "resource": 'Place::"x"',
        "context": {"encrypted": False},
    }
    assert cedarpy.is_authorized(request, text, entities).allowed
    return timed(lambda: cedarpy.is_authorized(request, text, entities), rounds)


def timed(work: Callable[[], object], rounds: int) -> Callable[[], float]:
    """Return what runs some work many times and tells the CPU microseconds of one."""

    def run() -> float:
        started = time.process_time()
        for _ in range(rounds):
            work()
        return (time.process_time() - started) / rounds * 1e6

    return run


_TIMED = """
import json, sys, time
def timed(work, rounds):
    assert work() is True
    started = time.process_time()
    for _ in range(rounds): work()
    return (time.process_time() - started) / rounds * 1e6
rounds = int(sys.argv[1])
"""
PEERS = {
    "casbin": _TIMED
    + """
import casbin
model = casbin.Model()
model.load_model_from_text('''
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, act
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub == p.sub && r.act == p.act && inside(r.obj) && away(r.obj) && owned(r.obj)
''')
enforcer = casbin.Enforcer(model)
enforcer.add_policy("operator", "backup:send")
enforcer.add_function("inside", lambda place: bool({"EU", "EEA"} & set(place["jurisdictions"])))
enforcer.add_function("away", lambda place: "US" not in place["reach"])
enforcer.add_function("owned", lambda place: "Elastx AB" in place["owners"])
place = {"jurisdictions": ["SE", "EU", "EEA"], "reach": ["SE"], "owners": ["Elastx AB"]}
print(json.dumps(timed(lambda: enforcer.enforce("operator", place, "backup:send"), rounds)))
""",
}


def peer(name: str, code: str, rounds: int) -> Callable[[], float]:
    """Return what times a peer in an environment of its own, in a process of its own."""
    folder = peers(name, name)
    python = folder / "python"

    def run() -> float:
        done = subprocess.run(
            [python, "-c", code, str(rounds)],
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return float(json.loads(done.stdout))

    return run


def append(batch: int, rounds: int) -> float:
    """Return the microseconds of one entry in batches of a size, with every sync."""

    with tempfile.TemporaryDirectory() as made:
        log = AuditLog(Path(made) / "log", Signer.make("skerry/bench/1", b"b" * 32))
        count = max(5, min(50, rounds // 10))
        entries = [b"x" * 600] * batch
        started = time.perf_counter()
        for _ in range(count):
            log.append(entries)
        return (time.perf_counter() - started) / (count * batch) * 1e6
