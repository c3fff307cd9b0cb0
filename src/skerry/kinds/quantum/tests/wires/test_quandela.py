"""Perceval, unmodified; and its wire, spoken to by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from skerry.kinds.quantum.contract import JobRequest, Program
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.tests.test_perceval import HOM, zipped
from skerry.kinds.quantum.tests.wires.calling import Caller
from skerry.kinds.quantum.tests.wires.conftest import Place, python_of


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_perceval(place: Place) -> None:
    python = python_of("clients-quandela")
    environment = {
        "QUANDELA_URL": f"{place.fields['url']}/quandela",
        "QUANDELA_TOKEN": place.fields["token"],
    }
    found = await place.drive("drive_quandela.py", environment, python=python, guide="Quandela")
    assert found["apart"] < 1e-6, "Perceval's own simulator and the wire agree on every outcome"
    local, remote = found["performance"]
    assert remote == pytest.approx(local, abs=1e-6)
    assert (found["counted"], found["sampled"]) == (500, 50)
    for alike, visibility in found["dip"]:
        assert visibility == pytest.approx(alike, abs=1e-6)
    assert found["sweep"] == pytest.approx([1.0, 0.0], abs=1e-9)
    chance, counted, status, free = found["computer"]
    assert chance == pytest.approx(0.25, abs=1e-6)
    assert 50 < counted < 150
    assert status == "available"
    assert free > 0
    assert found["machine"] == 20
    assert found["type"] == "ProcessorType.SIMULATOR"
    assert "400" in found["payload"]
    assert "400" in found["garbage"]
    assert "404" in found["platform"]
    assert "40" in found["token"], "the node finds no resource for a token that is none: 404"
    assert "401" in found["other"]


@pytest.fixture
def caller(engine: QuantumEngine) -> Caller:
    return Caller(engine)


def body(platform: str = "sim:slos", **payload: Any) -> dict[str, Any]:
    shape = {"command": "probs", "experiment": HOM, "max_shots": 1000, "job_context": None}
    return {
        "platform_name": platform,
        "job_name": "dip",
        "pcvl_version": "1.3",
        "process_id": "x",
        "payload": {**shape, **payload},
    }


ANGLES = [{"circuit_params": {"theta": angle}} for angle in (0.0, 1.5707963267948966)]


async def test_a_job_by_hand(engine: QuantumEngine, caller: Caller) -> None:
    sent = await caller.bearer("POST", "/quandela/api/job", body(iterator=ANGLES))
    job = sent.json["job_id"]
    await engine.desk.wait(job, 50.0)
    told = (await caller.bearer("GET", f"/quandela/api/job/status/{job}")).json
    assert (told["status"], told["progress"], told["name"]) == ("completed", 1.0, "dip")
    assert "simulation on this node" in told["progress_message"]
    answer = (await caller.bearer("GET", f"/quandela/api/job/result/{job}")).json
    first, second = msgspec.json.decode(answer["results"])["results_list"]
    assert first["results"].startswith(":PCVL:BSDistribution:{|1,1>=")
    assert first["iteration"] == ANGLES[0]
    assert "|2,0>" not in first["results"]
    assert second["global_perf"] == pytest.approx(1.0)
    assert "|2,0>=0.47" in second["results"]
    again = await caller.bearer("POST", f"/quandela/api/job/rerun/{job}")
    assert again.status == 409
    kept = await engine.desk.job(job)
    assert kept.usage["shots"] == 0, "chances are computed, and take no shots"


async def test_a_job_that_was_cancelled_is_run_again(engine: QuantumEngine, caller: Caller) -> None:
    wide = {"modes": 24, "input": [1] * 6 + [0] * 18, "components": []}
    first = JobRequest("sim-photonic", (Program(msgspec.json.encode(wide).decode(), "photonic"),))
    await engine.desk.submit(first)
    sent = await caller.bearer(
        "POST", "/quandela/api/job", body(command="samples", max_samples=5, iterator=ANGLES[:1])
    )
    job = sent.json["job_id"]
    early = await caller.bearer("GET", f"/quandela/api/job/result/{job}")
    assert early.status == 409
    await caller.bearer("POST", f"/quandela/api/job/cancel/{job}")
    told = (await caller.bearer("GET", f"/quandela/api/job/status/{job}")).json
    assert told["status"] == "canceled"
    again = (await caller.bearer("POST", f"/quandela/api/job/rerun/{job}")).json["job_id"]
    assert again != job
    await engine.desk.wait(again, 50.0)
    found = (await caller.bearer("GET", f"/quandela/api/job/result/{again}")).json["results"]
    assert msgspec.json.decode(found)["results_list"][0]["results"] == (
        ":PCVL:BSSamples:|1,1>/0;0;0;0;0"
    )


@pytest.mark.parametrize(
    ("asked", "status", "says"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 400, "object"),
        ({}, 400, "platform_name"),
        (body("qpu:nowhere"), 404, "sim:slos"),
        (body("iqm-garnet"), 404, "no platform"),
        (body(experiment="pickle"), 400, ":PCVL:"),
        (body(experiment=zipped(HOM)), 400, "no value"),
        (body(experiment=zipped(":PCVL:Experiment:" + "A" * (40 << 20))), 400, "16 MiB"),
        (body(command="steal"), 400, "not known"),
        (body(max_shots=-1), 400, "max_shots"),
        (body(iterator=[{"max_shots": "many"}]), 400, "max_shots"),
        (body(iterator=[*ANGLES, {"circuit_params": 3}]), 400, "numbers"),
        (body(iterator=ANGLES * 2049), 413, "executions"),
        (body(experiment=HOM + "A" * (1 << 20), iterator=ANGLES * 20), 413, "variations"),
        (b" " * (33 << 20), 413, "32 MiB"),
    ],
)
async def test_bad_jobs_are_refused_at_once(
    engine: QuantumEngine, caller: Caller, asked: Any, status: int, says: str
) -> None:
    found = await caller.bearer("POST", "/quandela/api/job", asked)
    assert (found.status, list(found.json)) == (status, ["error"])
    assert says in found.json["error"]
    assert await engine.desk.jobs() == []


async def test_what_is_not_there_is_told(engine: QuantumEngine, caller: Caller) -> None:
    for path in ("/api/job/status/x", "/api/jobs", "/api/platforms/sim:other/processor"):
        found = await caller.bearer("GET", f"/quandela{path}")
        assert (found.status, list(found.json)) == (404, ["error"])
    refused = await caller.bearer("GET", "/quandela/api/jobs/availability", token="wrong")
    assert (refused.status, list(refused.json)) == (401, ["error"])
    free = (await caller.bearer("GET", "/quandela/api/jobs/availability")).json
    assert free["num_jobs_in_queue"] == 0
    other = await engine.desk.submit(JobRequest("sim-ideal", (Program("qubit q; h q;"),)))
    assert (await caller.bearer("GET", f"/quandela/api/job/status/{other.id}")).status == 404
