"""The time of a decision of a node's decision point under a whole policy, beside Cedar alone."""

from __future__ import annotations

import time
from collections.abc import Callable

import cedarpy
import msgspec
from harness import Options, Table, interleave, median, times

from skerry.kernel import catalogue as events
from skerry.kernel.app import AppSpec
from skerry.kernel.catalogue import Catalogue
from skerry.kernel.clock import SystemClock
from skerry.kernel.policy import Evidence, Fact, Place, Request
from skerry.kernel.terms import Outside, PolicySpec, Residency
from skerry.node.policy.compiled import cedar_text
from skerry.node.policy.engine import Engine

WHOLE = PolicySpec(
    jurisdiction=("EU", "EEA"),
    exclude_reach=("US", "CN"),
    owners=("Elastx AB", "Safespring AB"),
    evidence_min=Evidence.DECLARED,
    residency_min=Residency.R1,
    outside=Outside.ENCRYPTED_ONLY,
    cedar=(
        '@id("machines")\nforbid(principal, action == Action::"quantum:run", resource) '
        'unless { resource.country == "FI" };'
    ),
)
"""Every term that there is, and a rule in Cedar."""

SITE = Fact(
    "provider/elastx/SE",
    "facility",
    "SE",
    Evidence.DOCUMENTED,
    source="https://example.org/lease.pdf",
    expires="2099-12-31",
    sha256="0" * 64,
)
"""What an operator would say of the site, so that the grade of its residency can be asked for."""

ASKED = Request(
    "operator", "backup:send", "elastx", "paper", "main", place=Place("elastx", country="SE")
)


def decisions(options: Options) -> Table:
    """Time the decision point of a node, and Cedar's call on the same rules and the same place."""
    rounds = options.pick(500, 5000)
    engine = Engine("n1", _catalogue(), SystemClock(), (SITE,))
    alone = _cedar_alone(engine)
    assert engine.decide(ASKED).allowed and alone().allowed
    ways = {"decision point": _timed(lambda: engine.decide(ASKED), rounds)}
    ways["Cedar alone"] = _timed(alone, rounds)
    found = interleave(ways, options.pick(3, 9))
    base = median(found["Cedar alone"])
    table = Table(("who decides", "CPU µs a decision", "of Cedar"), title="A decision")
    for name, values in found.items():
        table.add(name, round(median(values), 1), times(median(values), base))
    return table


def _catalogue() -> Catalogue:
    """Return the catalogue of a node that serves one app under the policy."""
    made = Catalogue()
    made.apply(events.encode(events.AppCreated("paper", 0)))
    spec = AppSpec("paper", (), None, policy=WHOLE)
    made.apply(events.encode(events.VersionAdded("paper", 1, spec, "")))
    made.apply(events.encode(events.BranchCreated("paper", "main", "d", None, 1, (), 0)))
    return made


def _cedar_alone(engine: Engine) -> Callable[[], cedarpy.AuthzResult]:
    """Return Cedar's own call, everything parsed before: what no decision point can be below."""
    rules = cedarpy.PolicySet.from_str(cedar_text(WHOLE))
    view = engine.view(ASKED)
    entity = {
        "uid": {"type": "Place", "id": view.name},
        "attrs": dict(view.attributes),
        "parents": [],
    }
    place = cedarpy.Entities.from_json_str(msgspec.json.encode([entity]).decode())
    asked = {
        "principal": {"type": "Principal", "id": ASKED.principal},
        "action": {"type": "Action", "id": ASKED.action},
        "resource": {"type": "Place", "id": view.name},
        "context": {
            "app": "paper",
            "branch": "main",
            "kind": "",
            "resource": "",
            "encrypted": False,
            "today": view.today,
        },
    }
    return lambda: cedarpy.is_authorized(asked, rules, place)


def _timed(work: Callable[[], object], rounds: int) -> Callable[[], float]:
    def run() -> float:
        started = time.process_time()
        for _ in range(rounds):
            work()
        return (time.process_time() - started) / rounds * 1e6

    return run
