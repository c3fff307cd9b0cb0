"""Jobs at vendors that fail, lose answers, are slow, and charge: what happens to job and ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from skerry.kernel.errors import DENIED, INVALID, UNSUPPORTED, Problem, SkerryError
from skerry.kinds.quantum import alarm
from skerry.kinds.quantum.config import Agreed
from skerry.kinds.quantum.contract import Budget, JobState
from skerry.kinds.quantum.hardware import SENDING
from skerry.kinds.quantum.reports import JobReport
from skerry.kinds.quantum.store import Store
from skerry.kinds.quantum.tests.providers import vendors
from skerry.kinds.quantum.tests.providers.vendors import Fault

FORTE = "ionq-forte-1"
LEAST = 23_445_455
"""Azure's minimum for a job on Forte 1, 25.79 USD, in micro-euro at 1.10."""

Open = Callable[..., Any]
Make = Callable[[type[vendors.Vendor]], Any]


async def test_a_job_is_posted_when_it_is_sent_and_corrected_at_its_end(
    lab: Open, vendor: Make
) -> None:
    ionq = vendor(vendors.IonQ)
    ionq.state = "running"
    own = await lab({"ionq": ionq.url})
    job = await own.submit(FORTE, "ionq")
    await own.until(lambda: own.tally.counts["micro_eur"] > 0)
    assert own.tally.counts["micro_eur"] == LEAST
    job = await own.engine.desk.cancel(job.id)
    assert job.state is JobState.CANCELLING
    job = await own.over(job)
    assert job.state is JobState.CANCELLED
    assert own.tally.counts["micro_eur_back"] == LEAST
    assert (job.cost.hardware, job.cost.posted) == (0, 0)
    assert "Nothing was run." in job.cost.lines
    ionq.state = ""
    job = await own.over(await own.submit(FORTE, "ionq"))
    assert job.state is JobState.COMPLETED
    assert job.cost.posted == LEAST
    assert own.tally.counts["micro_eur"] - own.tally.counts["micro_eur_back"] == LEAST
    assert (await own.engine.desk.result(job.id)).counts == {"10": 100}


async def test_what_is_posted_is_never_above_the_ceiling(lab: Open, vendor: Make) -> None:
    azure = vendor(vendors.Azure)
    azure.outcome = {"histogram": {"1": 1.0}}
    azure.cost = {"currencyCode": "USD", "estimatedTotal": 50.0}
    own = await lab({"azure": azure.url, "azure-login": azure.url})
    job = await own.over(await own.submit(FORTE, "azure", budget=Budget("30", "USD")))
    assert job.state is JobState.COMPLETED, job.error
    assert job.cost.hardware == 50_000_000
    assert "azure says 50.00 USD." in job.cost.lines
    assert job.cost.posted == own.tally.counts["micro_eur"] == 27_272_728


async def test_an_agreed_price_goes_before_the_list(lab: Open, vendor: Make) -> None:
    ionq = vendor(vendors.IonQ)
    ionq.chances = {"1": 0.4}
    prices = {"ionq": Agreed(per_task="1", per_shot="0.02")}
    own = await lab({"ionq": ionq.url}, prices=prices)
    job = await own.over(await own.submit(FORTE, "ionq"))
    assert job.state is JobState.PARTIAL
    assert job.cost.hardware == job.cost.posted == 1_800_000
    assert own.tally.counts["micro_eur"] == 3_000_000
    assert own.tally.counts["micro_eur_back"] == 1_200_000
    assert "40 of 100 shots were run." in job.cost.lines


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault("/jobs", 401), "does not accept the credentials"),
        (Fault("/jobs", 422), "refuses the request with 422"),
        (Fault("/jobs", how="lost"), "not sent twice"),
        (Fault("/jobs", how="cut"), "not sent twice"),
        (Fault("/jobs", how="garbled"), "not sent twice"),
        (Fault("/jobs", 502), "not sent twice"),
    ],
)
async def test_a_job_whose_sending_fails_is_not_sent_twice(
    lab: Open, vendor: Make, fault: Fault, says: str
) -> None:
    ionq = vendor(vendors.IonQ)
    ionq.faults = [fault]
    own = await lab({"ionq": ionq.url})
    job = await own.over(await own.submit(FORTE, "ionq"))
    assert job.state is JobState.FAILED
    assert says in job.error["what"]
    assert ionq.seen.count("POST /jobs") == 1
    may_have = "twice" in says
    assert job.cost.posted == (LEAST if may_have else 0)


async def test_a_vendor_that_is_busy_late_or_broken_is_asked_again(lab: Open, vendor: Make) -> None:
    ionq = vendor(vendors.IonQ)
    ionq.faults = [
        Fault("/jobs", 429, Retry_After="0.01"),
        Fault("/jobs", how="late"),
        Fault("/jobs/job-1", how="cut"),
        Fault("/jobs/job-1", 503),
        Fault("/jobs/job-1", how="garbled"),
        Fault("/jobs/job-1", 401),
        Fault("/probabilities", how="garbled"),
    ]
    own = await lab({"ionq": ionq.url})
    job = await own.over(await own.submit(FORTE, "ionq"))
    assert job.state is JobState.COMPLETED, job.error
    assert ionq.faults == []
    assert len(ionq.jobs) == 1
    assert ionq.seen.count("POST /jobs") == 2
    assert (job.failures, job.trouble) == (0, "")


async def test_a_job_says_what_keeps_it_from_its_vendor(lab: Open, vendor: Make) -> None:
    ionq = vendor(vendors.IonQ)
    ionq.faults = [Fault("/jobs", 429, Retry_After="300")]
    own = await lab({"ionq": ionq.url})
    job = await own.submit(FORTE, "ionq")
    while not job.trouble:
        await asyncio.sleep(0.01)
        job = await own.engine.desk.job(job.id)
    drawn = JobReport(job).draw(80)
    assert "ionq did not answer, 1 time in a row" in drawn
    assert "come back later" in drawn.replace("\n", " ")
    assert "asked again at" in drawn.replace("\n", " ")
    await own.engine.desk.cancel(job.id)
    job = await own.over(job)
    assert job.state is JobState.CANCELLED
    assert "did not answer" not in JobReport(job).draw(80)


async def test_a_lost_answer_is_found_by_the_token(lab: Open, vendor: Make) -> None:
    azure = vendor(vendors.Azure)
    azure.outcome = {"histogram": {"3": 1.0}}
    azure.faults = [Fault("/w/jobs/", how="lost")]
    own = await lab({"azure": azure.url, "azure-login": azure.url})
    job = await own.over(await own.submit(FORTE, "azure"))
    assert job.state is JobState.COMPLETED, job.error
    assert list(azure.jobs) == [job.id]
    assert sum(each.startswith("PUT") and "/jobs/" in each for each in azure.seen) == 2


async def test_a_job_that_waits_lets_the_resource_sleep_and_wakes_it_when_it_is_due(
    lab: Open, vendor: Make
) -> None:
    ionq = vendor(vendors.IonQ)
    ionq.state = "ready"
    own = await lab({"ionq": ionq.url})
    own.engine.desk.hardware.first_seconds = 300.0
    job = await own.submit(FORTE, "ionq")
    assert "on hardware" in await own.engine.busy() or own.engine.desk.hardware.out
    looks = "GET /jobs/job-1"
    await own.until(lambda: looks in ionq.seen)
    soon = own.engine.context.clock.now() + 100_000_000_000
    await own.until(lambda: (alarm.due(own.engine.context.directory) or 0) > soon)
    assert own.engine.desk.hardware.busy == ""
    assert await own.engine.busy() == ""
    at = alarm.due(own.engine.context.directory)
    assert at is not None
    assert 250 < (at - own.engine.context.clock.now()) / 1e9 < 310
    await own.restart()
    assert alarm.due(own.engine.context.directory) == at
    assert await own.engine.busy() == ""
    assert ionq.seen.count(looks) == 1
    ionq.state = ""
    await own.engine.desk.stored(Store.change, job.id, None, "", look_at=0)
    await own.restart()
    job = await own.over(job)
    assert job.state is JobState.COMPLETED
    await own.until(lambda: alarm.due(own.engine.context.directory) is None)
    assert len(ionq.jobs) == 1


async def _nothing() -> None:
    """Stand in for the start of the hardware's part."""


async def test_a_job_that_was_being_sent_when_the_node_stopped_is_searched_for(
    lab: Open, vendor: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    pasqal = vendor(vendors.Pasqal)
    pasqal.faults = [Fault("/login", how="late")]
    endpoints = {"pasqal": pasqal.url, "pasqal-login": f"{pasqal.url}/login"}
    prices = {"pasqal": Agreed(per_shot="0.1")}
    own = await lab(endpoints, prices=prices)
    own.engine.desk.hardware.provider("pasqal").check = lambda task: None
    job = await own.submit("pasqal-fresnel", "pasqal", format="ahs")
    await own.engine.stop()
    pasqal.jobs["job-9"] = {"tags": [job.id]}
    own.engine = own.make()
    # The desk is started for its store alone: nothing may be sent before it is written what was.
    monkeypatch.setattr(own.engine.desk.hardware, "start", _nothing)
    await own.engine.desk.start()
    await own.engine.desk.stored(Store.change, job.id, None, "", vendor_job=SENDING)
    await own.engine.desk.stop()
    own.engine = own.make()
    await own.engine.start()
    job = await own.over(job)
    assert job.state is JobState.COMPLETED, job.error
    assert job.vendor_job == "job-9"
    assert "POST /api/v1/batches" not in pasqal.seen


async def test_ibm_is_told_the_seconds_that_the_ceiling_pays_for(lab: Open, vendor: Make) -> None:
    ibm = vendor(vendors.IBM)
    ibm.faults = [Fault("/jobs", how="lost")]
    ibm.state = "Queued"
    prices = {"ibm": Agreed(per_second="1.60", currency="USD")}
    own = await lab({"ibm": ibm.url, "iam": ibm.url}, prices=prices)
    job = await own.submit("ibm-torino", "ibm", budget=Budget("20", "USD"), booking="session-5")
    await own.until(lambda: any(each.endswith("/metrics") for each in ibm.seen))
    async with asyncio.timeout(20):
        while (found := await own.engine.desk.job(job.id)).queue is None:
            await asyncio.sleep(0.005)
    assert found.queue.position == 3
    assert found.state is JobState.QUEUED
    ibm.state = ""
    job = await own.over(job)
    assert job.state is JobState.COMPLETED, job.error
    assert ibm.seen.count("POST /jobs") == 1, "its answer was lost, and it was searched for"
    sent = ibm.jobs["job-1"]
    assert sent["cost"] == 12
    assert sent["session_id"] == "session-5"
    assert job.cost.hardware == 6_400_000, "4 s were counted"
    assert job.cost.posted == 5_818_182
    assert job.usage["hardware_ms"] == 4000


async def test_a_booking_goes_to_vendors_that_have_such(lab: Open, vendor: Make) -> None:
    ionq, azure = vendor(vendors.IonQ), vendor(vendors.Azure)
    azure.outcome = {"histogram": {"0": 1.0}}
    own = await lab({"ionq": ionq.url, "azure": azure.url, "azure-login": azure.url})
    await own.over(await own.submit(FORTE, "ionq", booking="session-7"))
    job = await own.over(await own.submit(FORTE, "azure", booking="session-8"))
    assert ionq.jobs["job-1"]["session_id"] == "session-7"
    assert azure.jobs[job.id]["sessionId"] == "session-8"
    for device, provider in (("quandela-ascella", "quandela"), (FORTE, "twin")):
        with pytest.raises(SkerryError):
            await own.submit(device, provider, booking="session-9")


REFUSED: tuple[tuple[str, str, dict[str, Any], Problem, str], ...] = (
    (FORTE, "ionq", {"budget": None}, INVALID, "ceiling"),
    (FORTE, "ionq", {"budget": Budget("0.01", "USD")}, DENIED, "budget"),
    ("iqm-garnet", "ionq", {}, UNSUPPORTED, "cannot be reached by ionq"),
    ("ibm-torino", "ibm", {}, DENIED, "not known"),
    (FORTE, "nobody", {}, UNSUPPORTED, "no way"),
    (FORTE, "ionq", {"where": ("EU",)}, DENIED, "iqm-garnet"),
    ("quantinuum-h2-1", "azure", {}, DENIED, "not known"),
    ("iqm-garnet", "scaleway", {"level": "verbatim"}, UNSUPPORTED, "compiled there"),
    ("iqm-garnet", "iqm", {}, DENIED, "skerry secret set IQM_TOKEN"),
    (FORTE, "azure", {"permit": False}, DENIED, "Policy does not let a job go to IonQ Forte"),
)


async def test_what_is_refused_is_sent_nowhere(lab: Open, vendor: Make) -> None:
    ionq = vendor(vendors.IonQ)
    own = await lab(dict.fromkeys(("ionq", "azure", "iqm", "scaleway"), ionq.url))
    for device, provider, more, problem, says in REFUSED:
        shape = dict(more)
        own.gate.open = shape.pop("permit", True)
        with pytest.raises(SkerryError) as caught:
            await own.submit(device, provider, **shape)
        error = caught.value
        assert error.problem is problem, error.what
        assert says in f"{error.what} {error.why} {error.hint}"
    assert ionq.seen == []
    assert await own.engine.desk.jobs() == []
    assert own.tally.counts["micro_eur"] == 0
