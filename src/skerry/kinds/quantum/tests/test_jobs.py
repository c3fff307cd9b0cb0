"""Jobs: durable, cancelled wherever they are, run once, refused at once if they cannot run."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.kernel.errors import CONFLICT, DENIED, INVALID, NOT_FOUND, TOO_LARGE, SkerryError
from skerry.kinds.quantum.alarm import OPEN_FILE
from skerry.kinds.quantum.binding import job_request
from skerry.kinds.quantum.contract import (
    Budget,
    Job,
    JobRequest,
    JobState,
    Options,
    Program,
    Result,
)
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.messages import Awaited, Learned, Listed, Named, Quoted, Request
from skerry.kinds.quantum.results import is_signed, public_key
from skerry.kinds.quantum.store import Store
from skerry.kinds.quantum.tests.conftest import MakeContext, ghz, slow
from skerry.kinds.quantum.tests.test_catalogue import braket_file

SECONDS = 50.0


def asked(source: str = "", **more: Any) -> JobRequest:
    shape: dict[str, Any] = {
        "device": "iqm-garnet",
        "programs": (Program(source or ghz(3)),),
        "shots": 200,
    }
    return JobRequest(**(shape | more))


async def finished(engine: QuantumEngine, job: Job) -> Job:
    found = await engine.desk.wait(job.id, SECONDS)
    assert found.over, found
    return found


async def test_a_job_runs_with_its_provenance_usage_and_cost(engine: QuantumEngine) -> None:
    options = Options(seed=5, pessimism=2.0, memory=True)
    job = await engine.desk.submit(asked(options=options, name="first", tags={"a": "b"}))
    assert job.state is JobState.QUEUED
    assert job.queue is not None
    assert job.queue.position == 1
    job = await finished(engine, job)
    assert (job.state, job.done, job.request.tags) == (JobState.COMPLETED, 1, {"a": "b"})
    assert "twin" in job.nature
    assert job.cost is not None
    assert job.cost.hardware == 460_000
    result = await engine.desk.result(job.id)
    assert sum(result.counts.values()) == len(result.memory) == 200
    assert result.endianness == "bit 0 first"
    source = result.provenance
    assert source.calibration is not None
    assert (source.calibration.taken_at, source.seed) == ("2026-05-05", 5)
    assert "cz $" in source.compiled
    assert source.notes == ("Published error rates are multiplied by 2.",)
    key = public_key(engine.context)
    assert is_signed(result, key)
    assert not is_signed(msgspec.structs.replace(result, shots=201), key)
    assert not is_signed(result, "00" * 32)
    assert engine.context.meter.counts["shots"] == 200  # type: ignore[attr-defined]
    steps = [each.state.value for each in await engine.desk.events(job.id)]
    assert steps == ["CREATED", "VALIDATED", "ESTIMATED", "QUEUED", "RUNNING", "COMPLETED"]
    async with asyncio.timeout(5):
        while (engine.context.directory / OPEN_FILE).exists():
            await asyncio.sleep(0.01)


async def test_programs_times_bindings_are_executions(engine: QuantumEngine) -> None:
    turn = "OPENQASM 3; input float t; qubit q; bit c; rx(t) q; c = measure q;"
    sweep = Program(turn, bindings=({"t": 0.0}, {"t": 3.141592653589793}))
    job = await engine.desk.submit(
        asked(device="sim-ideal", programs=(Program(ghz(2)), sweep), shots=50)
    )
    assert job.executions == 3
    await finished(engine, job)
    results = await engine.desk.results(job.id)
    assert [each.execution for each in results] == [0, 1, 2]
    assert [results[1].counts, results[2].counts] == [{"0": 50}, {"1": 50}]


async def test_a_token_finds_the_job_that_it_made(engine: QuantumEngine) -> None:
    first = await engine.desk.submit(asked(token="t1"))
    again = await engine.desk.submit(asked(token="t1"))
    assert first.id == again.id
    with pytest.raises(SkerryError) as refused:
        await engine.desk.submit(asked(token="t1", shots=300))
    assert refused.value.problem is CONFLICT
    assert len(await engine.desk.jobs()) == 1


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (asked(shots=0), INVALID),
        (asked(shots=-5), INVALID),
        (asked(shots=1_000_000), INVALID),
        (asked("OPENQASM 3; qubit q; foo q;"), INVALID),
        (asked("garbage"), INVALID),
        (asked(ghz(21)), INVALID),
        (asked(programs=()), INVALID),
        (asked(programs=(Program("x" * 5_000_000),)), TOO_LARGE),
        (asked(programs=(Program(ghz(2), bindings=({},) * 5000),)), TOO_LARGE),
        (asked(device="no-such"), NOT_FOUND),
        (asked(where=("DE",)), DENIED),
        (asked(budget=Budget("0.1")), DENIED),
        (asked(options=Options(pessimism=-1)), INVALID),
        (asked(options=Options(engine="magic")), INVALID),
        (asked(options=Options(layout=("1",))), INVALID),
        (asked(ghz(2), level="verbatim"), INVALID),
    ],
)
async def test_bad_input_is_refused_at_once_and_nothing_is_kept(
    engine: QuantumEngine, request_: JobRequest, problem: Any
) -> None:
    with pytest.raises(SkerryError) as refused:
        await engine.desk.submit(request_)
    assert refused.value.problem is problem
    assert await engine.desk.jobs() == []


async def test_cancelling_a_running_and_a_waiting_job(engine: QuantumEngine) -> None:
    long = asked(slow(), shots=20_000)
    running = await engine.desk.submit(long)
    waiting = await engine.desk.submit(asked())
    while (await engine.desk.job(running.id)).state is not JobState.RUNNING:
        await asyncio.sleep(0.01)
    assert (await engine.desk.cancel(waiting.id)).state is JobState.CANCELLED
    await engine.desk.cancel(running.id)
    assert (await finished(engine, running)).state is JobState.CANCELLED
    assert (await engine.desk.cancel(running.id)).state is JobState.CANCELLED
    after = await finished(engine, await engine.desk.submit(asked()))
    assert after.state is JobState.COMPLETED


@pytest.mark.parametrize("seconds", [0.0, 1000.0], ids=["one by one", "together"])
async def test_what_was_done_before_a_failure_is_kept(
    engine: QuantumEngine, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr("skerry.kinds.quantum.runner.KEEP_SECONDS", seconds)
    turn = "OPENQASM 3; input float t; qubit q; bit c; rx(1 / t) q; c = measure q;"
    program = Program(turn, bindings=({"t": 1.0}, {"t": 2.0}))
    job = await engine.desk.submit(asked(device="sim-ideal", programs=(program,)))
    broken = msgspec.structs.replace(
        job.request, programs=(Program(turn, bindings=({"t": 1.0}, {"t": 0.0})),)
    )
    await engine.desk.stored(Store.change, job.id, request=broken)
    job = await finished(engine, job)
    assert (job.state, job.done) == (JobState.PARTIAL, 1)
    assert job.error is not None
    assert "value" in job.error["what"]
    assert len(await engine.desk.results(job.id)) == 1
    counted = engine.context.meter.counts["shots"]  # type: ignore[attr-defined]
    assert job.usage["shots"] == counted == job.request.shots


async def test_a_circuit_has_numbers_for_the_same_names_in_every_binding(
    engine: QuantumEngine,
) -> None:
    source = '{"qubits":1,"bits":1,"ops":[["rx",[0],["t"]],["measure",[0],[0]]]}'

    def swept(other: dict[str, float]) -> JobRequest:
        program = Program(source, format="circuit", bindings=({"t": 0.0}, other))
        return asked(device="sim-ideal", programs=(program,), shots=20)

    job = await finished(engine, await engine.desk.submit(swept({"t": 3.141592653589793})))
    assert [each.counts for each in await engine.desk.results(job.id)] == [{"0": 20}, {"1": 20}]
    for wrong in ({"u": 1.0}, {"t": float("nan")}, {}):
        with pytest.raises(SkerryError) as refused:
            await engine.desk.submit(swept(wrong))
        assert refused.value.problem is INVALID


async def test_a_job_whose_worker_is_killed_is_run_again(engine: QuantumEngine) -> None:
    await finished(engine, await engine.desk.submit(asked()))
    process = engine.desk.runner.workers.of("gates")._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    job = await engine.desk.submit(asked())
    while (await engine.desk.job(job.id)).state is not JobState.RUNNING:
        await asyncio.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    job = await finished(engine, job)
    assert job.state is JobState.COMPLETED
    assert job.usage["shots"] == job.request.shots


async def test_a_worker_that_dies_twice_fails_its_job_and_no_other(engine: QuantumEngine) -> None:
    job = await engine.desk.submit(asked(slow(), shots=20_000))
    killed: set[int] = set()
    while not (await engine.desk.job(job.id)).over:
        process = engine.desk.runner.workers.of("gates")._process
        if process is not None and process.pid not in killed:
            killed.add(process.pid)
            os.kill(process.pid, signal.SIGKILL)
        await asyncio.sleep(0.02)
    job = await engine.desk.job(job.id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert "killed" in job.error["why"]
    assert len(killed) == 2
    after = await finished(engine, await engine.desk.submit(asked()))
    assert after.state is JobState.COMPLETED


async def test_jobs_survive_a_restart_and_run_once(make_context: MakeContext) -> None:
    context = make_context()
    engine = QuantumEngine(context)
    await engine.start()
    first = await engine.desk.submit(asked(slow(), shots=20_000))
    second = await engine.desk.submit(asked())
    while (await engine.desk.job(first.id)).state is not JobState.RUNNING:
        await asyncio.sleep(0.01)
    assert (context.directory / OPEN_FILE).exists()
    await engine.desk.runner.stop()  # as a crash leaves it: RUNNING on the disk
    await engine.stop()

    again = QuantumEngine(context)
    await again.start()
    assert await again.busy()
    states = [each.state for each in await again.desk.events(first.id)]
    assert states[-2:] == [JobState.QUEUED, JobState.RUNNING] or states[-1] is JobState.QUEUED
    await again.desk.cancel(first.id)
    assert (await finished(again, second)).state is JobState.COMPLETED
    await again.stop()

    copied = QuantumEngine(make_context("00000000cafe0000"))
    await copied.start()
    assert (await copied.desk.job(second.id)).state is JobState.COMPLETED
    await copied.stop()


async def test_a_copy_does_not_run_the_originals_jobs(make_context: MakeContext) -> None:
    engine = QuantumEngine(make_context())
    await engine.start()
    job = await engine.desk.submit(asked(slow(), shots=20_000))
    await engine.stop()
    copy = QuantumEngine(make_context("00000000cafe0000"))
    await copy.start()
    found = await copy.desk.job(job.id)
    assert found.state is JobState.CANCELLED
    assert not await copy.busy()
    await copy.stop()


async def test_the_policy_of_the_resource_and_its_ceiling(make_context: MakeContext) -> None:
    engine = QuantumEngine(make_context(countries=("EU",), budget="1.00"))
    await engine.start()
    for request in (asked(device="ibm-boston"), asked(shots=2000)):
        with pytest.raises(SkerryError) as refused:
            await engine.desk.submit(request)
        assert refused.value.problem is DENIED
    quoted = await engine.word_quote(Quoted(asked(device="sim-ideal"), currency="EUR"))
    assert "ibm-boston" not in {each.device for each in quoted}
    assert {"iqm-garnet", "aqt-ibex-q1"} <= {each.device for each in quoted if each.fits}
    await engine.stop()


async def test_words_and_export(engine: QuantumEngine, tmp_path: Path) -> None:
    job = await engine.word_submit(Request(asked()))
    outcome = await engine.word_wait(Awaited(job.id, SECONDS))
    assert outcome.job.state is JobState.COMPLETED
    assert [each.id for each in await engine.word_list(Listed())] == [job.id]
    assert await engine.word_list(Listed(states=(JobState.FAILED,))) == []
    revised = await engine.word_learn(Learned("iqm-garnet", msgspec.json.encode(braket_file())))
    assert (revised.revision, revised.taken_at) == (3, "2027-01-02")
    target = tmp_path / "export"
    target.mkdir()
    await engine.export(target)
    before = await engine.word_show(Named(job.id))
    other = await finished(engine, await engine.desk.submit(asked(ghz(2))))
    await engine.restore(target)
    assert await engine.word_show(Named(job.id)) == before
    assert [each.id for each in await engine.desk.jobs()] == [job.id]
    with pytest.raises(SkerryError):
        await engine.desk.job(other.id)
    (target / "results.ndjson").write_text("{}\n")
    with pytest.raises(SkerryError) as refused:
        await engine.restore(target)
    assert refused.value.problem is INVALID
    assert await engine.word_show(Named(job.id)) == before
    shutil.rmtree(target)
    states = await engine.status()
    assert states["jobs"] == {"COMPLETED": 1}


async def test_an_imported_calibration_makes_the_next_twin(engine: QuantumEngine) -> None:
    await engine.desk.learn("iqm-garnet", msgspec.json.encode(braket_file()))
    job = await finished(engine, await engine.desk.submit(asked(ghz(2))))
    result: Result = await engine.desk.result(job.id)
    assert result.provenance.calibration is not None
    assert result.provenance.calibration.revision == 3
    assert set(result.provenance.layout) == {"1", "2"}, "the third qubit has no working pair"


def test_a_function_names_the_language_and_the_way() -> None:
    made = job_request("operation Main() : Unit {}", language="qsharp", provider="ionq", shots=3)
    assert (made.programs[0].format, made.provider, made.shots) == ("qsharp", "ionq", 3)
    assert job_request("x").programs[0].format == "openqasm3"
