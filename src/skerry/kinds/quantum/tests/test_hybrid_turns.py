"""In which order hybrid jobs run, and what is kept of them; their programs are a test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import msgspec
import pytest

from skerry.kernel.apart import LOG, WORK, Ending, Program
from skerry.kernel.errors import CONFLICT, SkerryError
from skerry.kernel.kind import Context
from skerry.kinds.quantum.contract import JobState
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.hybrid import files, jobs
from skerry.kinds.quantum.hybrid.contract import HybridJob, HybridRequest
from skerry.kinds.quantum.hybrid_reports import draw
from skerry.kinds.quantum.tests.conftest import MakeContext, Tally
from skerry.kinds.quantum.tests.wires.test_braket_jobs import packed

GARNET, EMERALD = "iqm-garnet", "iqm-emerald"


class Stage:
    """Programs that do nothing until the test says how they end."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.programs: dict[str, Actor] = {}

    async def __call__(self, program: Program) -> Actor:
        made = Actor(self.run / program.folder)
        self.programs[program.folder.rpartition("/")[2]] = made
        return made


class Actor:
    """One of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.end: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

    async def wait(self) -> Ending:
        return await asyncio.shield(self.end)

    async def stop(self) -> None:
        if not self.end.done():
            self.end.set_result(Ending(143, "stopped"))

    def leave(self, name: str, text: str) -> None:
        path = self.folder / WORK / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def finish(self, code: int = 0) -> None:
        self.end.set_result(Ending(code, "exited", cpu_ms=7, memory_bytes=1 << 20))


@pytest.fixture
async def stage(make_context: MakeContext) -> AsyncIterator[tuple[QuantumEngine, Stage]]:
    context = make_context(hybrid_at_once=2)
    made = Stage(context.run)
    engine = QuantumEngine(with_stage(context, made))
    await engine.start()
    await engine.desk.stored(files.put, "bucket", "source", packed(script=""))
    yield engine, made
    await engine.stop()


def with_stage(context: Context, stage: Stage) -> Context:
    return replace(context, apart=stage)


async def submit(engine: QuantumEngine, name: str, device: str = "") -> HybridJob:
    return await engine.desk.hybrid.submit(
        HybridRequest(
            name=name,
            device=device,
            stack="clients-braket",
            bucket="bucket",
            script="source",
            entry="script",
            output=("bucket", f"{name}/out"),
            checkpoints=("bucket", f"{name}/kept"),
            token=name,
        )
    )


async def becomes(engine: QuantumEngine, job: HybridJob, state: JobState) -> HybridJob:
    async with asyncio.timeout(20):
        while (found := await engine.desk.hybrid.job(job.id)).state is not state:
            assert not found.over, found.why
            await asyncio.sleep(0.01)
    return found


async def begun(stage: Stage, job: HybridJob) -> Actor:
    async with asyncio.timeout(20):
        while job.id not in stage.programs:
            await asyncio.sleep(0.01)
    return stage.programs[job.id]


async def test_one_runs_on_a_device_at_a_time_and_few_on_the_resource(
    stage: tuple[QuantumEngine, Stage],
) -> None:
    engine, programs = stage
    first, second = await submit(engine, "first", GARNET), await submit(engine, "second", GARNET)
    third, fourth = await submit(engine, "third", EMERALD), await submit(engine, "fourth")
    await begun(programs, first)
    await begun(programs, third)
    assert (await engine.desk.hybrid.job(second.id)).position == 1
    assert (await engine.desk.hybrid.job(fourth.id)).position == 2
    assert engine.desk.hybrid.waiting(GARNET) == 1
    assert "hybrid job" in await engine.busy()
    assert (await engine.desk.hybrid.cancel(second.id)).state is JobState.CANCELLED
    (await begun(programs, first)).finish()
    await becomes(engine, first, JobState.COMPLETED)
    await begun(programs, fourth)
    with pytest.raises(SkerryError) as raised:
        await engine.desk.hybrid.cancel(first.id)
    assert raised.value.problem is CONFLICT


async def test_tasks_of_a_job_go_first_on_its_device_and_end_if_it_fails(
    stage: tuple[QuantumEngine, Stage],
) -> None:
    engine, programs = stage
    job = await submit(engine, "job", GARNET)
    actor = await begun(programs, job)
    session = await engine.desk.session(job.id)
    assert (session.mode, session.device, session.accepting) == ("dedicated", GARNET, True)
    actor.finish(code=3)
    found = await becomes(engine, job, JobState.FAILED)
    assert (found.code, found.why) == (3, "AlgorithmError: The script failed. exit code: 3")
    assert not (await engine.desk.session(job.id)).accepting


async def test_what_a_job_says_leaves_and_uses_is_kept(
    stage: tuple[QuantumEngine, Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(jobs, "CHECKPOINT_SECONDS", 0.02)
    engine, programs = stage
    job = await submit(engine, "job")
    actor = await begun(programs, job)
    lines = b"1000 Metrics - timestamp=1; cost=3;\n2000 Metrics - cost=1;\n"
    (actor.folder / LOG).write_bytes(lines)
    actor.leave("checkpoints/deep/one.json", "1")
    async with asyncio.timeout(20):
        while await engine.desk.stored(files.find, "bucket", "job/kept/deep/one.json") is None:
            await asyncio.sleep(0.01)
    actor.leave("model/results.json", "{}")
    actor.leave("output/failure", "why\n")
    actor.finish()
    found = await becomes(engine, job, JobState.COMPLETED)
    assert await engine.desk.hybrid.said(job.id) == lines
    told = await engine.desk.hybrid.told(job.id)
    text = draw(told, 80)
    assert "COMPLETED" in text
    assert "█▁  3 to 1" in text
    kept = await engine.desk.stored(files.find, "bucket", "job/out/output/model.tar.gz")
    assert kept is not None
    counts = cast("Tally", engine.context.meter).counts
    assert counts["hybrid_ms"] > 0
    assert found.usage["cpu_ms"] == 7
    async with asyncio.timeout(20):
        while actor.folder.exists():
            await asyncio.sleep(0.01)


async def test_what_waits_goes_on_after_a_restart_and_what_ran_has_failed(
    make_context: MakeContext,
) -> None:
    context = make_context(hybrid_at_once=1)
    programs = Stage(context.run)
    engine = QuantumEngine(with_stage(context, programs))
    await engine.start()
    await engine.desk.stored(files.put, "bucket", "source", packed(script=""))
    first, second = await submit(engine, "first"), await submit(engine, "second")
    await begun(programs, first)
    await engine.stop()
    again = QuantumEngine(with_stage(make_context(hybrid_at_once=1), programs))
    await again.start()
    try:
        assert (await again.desk.hybrid.job(first.id)).state is JobState.FAILED
        (await begun(programs, second)).finish()
        await becomes(again, second, JobState.COMPLETED)
    finally:
        await again.stop()


async def test_in_a_copy_of_the_state_no_job_runs_again(make_context: MakeContext) -> None:
    programs = Stage(make_context().run)
    engine = QuantumEngine(with_stage(make_context(), programs))
    await engine.start()
    await engine.desk.stored(files.put, "bucket", "source", packed(script=""))
    job = await submit(engine, "job")
    await begun(programs, job)
    await engine.stop()
    copied = QuantumEngine(with_stage(make_context("00000000deadbee0"), programs))
    await copied.start()
    try:
        assert (await copied.desk.hybrid.job(job.id)).state is JobState.CANCELLED
    finally:
        await copied.stop()


def test_a_program_does_not_tell_its_credentials() -> None:
    program = Program(("a",), {"AWS_SECRET_ACCESS_KEY": "s3cret"}, "hybrid/1", 1.0, 1, 1, 1)
    assert "s3cret" not in repr(program)
    assert msgspec.to_builtins(program)["environment"]
