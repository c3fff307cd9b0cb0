"""Pasqal's client and Pulser on top of it, unmodified; and what its wire refuses."""

from __future__ import annotations

import gzip
import math
from typing import Any

import msgspec
import pytest

from skerry.kinds.quantum.contract import JobRequest, Program
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.tests.wires.calling import Caller
from skerry.kinds.quantum.tests.wires.conftest import Place, python_of


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_pulser_on_pasqals_cloud(place: Place) -> None:
    python = python_of("clients-pasqal")
    environment = {
        "PASQAL_URL": f"{place.fields['url']}/pasqal",
        "PASQAL_TOKEN": place.fields["token"],
    }
    found = await place.drive("drive_pasqal.py", environment, python=python, guide="Pasqal")
    assert found["device"] == ["FRESNEL", 100, 6000]
    assert found["status"] == "DONE"
    counts, other = found["counts"]
    assert sum(counts.values()) == found["raw"] == 2000
    assert counts != other
    for text, number in found["expected"].items():
        spread = math.sqrt(2 * max(number, counts.get(text, 0)))
        assert abs(number - counts.get(text, 0)) <= 5 * spread, "as Pulser's own simulator"
    assert found["opened"] == ["DONE", False, 50]
    assert found["pulser"] == 100
    assert found["again"]
    assert "apart" in found["near"]
    assert "BatchCreationError" in found["variable"]
    assert "no sequence" in found["garbage"]
    assert "400" in found["type"]
    assert "JobCreationError" in found["closed"]
    assert "404" in found["batch"]
    assert "401" in found["token"]


def body(**changed: Any) -> dict[str, Any]:
    shape = {
        "project_id": "lab",
        "sequence_builder": "{}",
        "jobs": [{"runs": 10}],
        "device_type": "FRESNEL",
    }
    return {**shape, **changed}


BAD: tuple[tuple[Any, int, str], ...] = (
    (b"{", 400, "malformed"),
    (b"[]", 400, "malformed"),
    ({}, 400, "malformed"),
    (body(), 400, "no sequence"),
    (body(device_type="IQM"), 400, "FRESNEL_CAN1"),
    (body(device_type=None), 400, "device_type"),
    (body(device_type="FRESNEL_CAN1"), 400, "no twin"),
    (body(jobs=[]), 400, "has jobs"),
    (body(jobs=[{"runs": None}]), 400, "how often"),
    (body(jobs=[{"runs": -5}]), 400, "-5"),
    (body(jobs=[{"runs": 1, "variables": {"a": ["x"]}}]), 400, "no number"),
    (body(sequence_builder=None), 400, "Neither"),
    (body(jobs=[{"runs": 1}] * 201), 400, "malformed"),
    (body(sequence_builder="x" * (5 << 20)), 413, "4 MiB"),
)


async def test_bad_batches_are_refused_at_once(engine: QuantumEngine) -> None:
    caller = Caller(engine)
    for asked, status, says in BAD:
        found = await caller.bearer("POST", "/pasqal/api/v1/batches", asked)
        assert (found.status, found.json["status"]) == (status, "fail"), asked
        assert says in found.json["message"] + found.json["data"]["description"], asked
    zipped = {"Authorization": f"Bearer {caller.token}", "Content-Encoding": "gzip"}
    bomb = gzip.compress(msgspec.json.encode(body(sequence_builder=" " * (40 << 20))))
    for data, status in ((b"no gzip", 400), (bomb, 413), (bomb[:-100], 413), (bomb[:50], 400)):
        found = await caller("POST", "/pasqal/api/v1/batches", data, zipped)
        assert (found.status, found.json["status"]) == (status, "fail")
    assert await engine.desk.jobs() == []
    assert await engine.desk.sessions("pasqal", 10) == []


async def test_what_is_not_there_is_told(engine: QuantumEngine) -> None:
    caller = Caller(engine)
    other = await engine.desk.submit(JobRequest("sim-ideal", (Program("qubit q; h q;"),)))
    for path in ("/batches/x", "/batches/x/status", f"/jobs/{other.id}", "/workloads", "/jobs/x"):
        found = await caller.bearer("GET", f"/pasqal/api/v1{path}")
        assert (found.status, found.json["status"]) == (404, "fail")
    refused = await caller.bearer("GET", "/pasqal/api/v1/devices/specs", token="wrong")
    assert refused.status == 401
    assert (await caller("GET", f"/pasqal/results/{other.id}")).status == 401
    specs = (await caller.bearer("GET", "/pasqal/api/v1/devices/specs")).json["data"]
    assert list(specs) == ["FRESNEL"], "no twin stands for the machine in Canada"
    assert (await caller.bearer("GET", "/pasqal/api/v1/batches")).json["data"] == []
