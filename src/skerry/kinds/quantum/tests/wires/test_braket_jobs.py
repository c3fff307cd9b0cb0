"""Hybrid jobs of Braket: by its SDK on a node, and what is refused at once."""

from __future__ import annotations

import asyncio
import io
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import msgspec
import pytest

from skerry.kinds.quantum import claim
from skerry.kinds.quantum.contract import JobState
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.hybrid import records
from skerry.kinds.quantum.messages import Page
from skerry.kinds.quantum.tests.conftest import MakeContext
from skerry.kinds.quantum.tests.wires.calling import Answer, Caller
from skerry.kinds.quantum.tests.wires.conftest import Place

BUCKET = "amazon-braket-eu-north-1-000000000000"
LOGS = "Logs_20140328."


def packed(**files: str) -> bytes:
    """Return modules as an archive packed by gzip."""
    return archive(*((f"{name}.py", text.encode()) for name, text in files.items()))


def archive(*members: tuple[str, bytes] | tarfile.TarInfo) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for each in members:
            if isinstance(each, tarfile.TarInfo):
                tar.addfile(each)
            else:
                member = tarfile.TarInfo(each[0])
                member.size = len(each[1])
                tar.addfile(member, io.BytesIO(each[1]))
    return made.getvalue()


def asked(entry: str = "script", **changes: Any) -> dict[str, Any]:
    """Return the body of CreateJob."""
    body: dict[str, Any] = {
        "clientToken": "one",
        "jobName": "a-job",
        "roleArn": "arn:aws:iam::000000000000:role/service-role/AmazonBraketJobsExecutionRole",
        "algorithmSpecification": {
            "scriptModeConfig": {
                "entryPoint": entry,
                "s3Uri": f"s3://{BUCKET}/code/source.tar.gz",
                "compressionType": "GZIP",
            }
        },
        "outputDataConfig": {"s3Path": f"s3://{BUCKET}/out"},
        "checkpointConfig": {"s3Uri": f"s3://{BUCKET}/checkpoints"},
        "instanceConfig": {
            "instanceType": "ml.m5.large",
            "volumeSizeInGb": 30,
            "instanceCount": 1,
        },
        "deviceConfig": {"device": "local:none/none"},
        "inputDataConfig": [],
        "hyperParameters": {},
        "stoppingCondition": {"maxRuntimeInSeconds": 60},
        "tags": {},
    }
    return body | changes


@pytest.fixture
def caller(engine: QuantumEngine) -> Caller:
    return Caller(engine)


async def put(caller: Caller, data: bytes, key: str = "code/source.tar.gz") -> Answer:
    return await caller.aws("PUT", f"/{BUCKET}/{key}", data, service="s3")


async def refused(caller: Caller, body: dict[str, Any]) -> str:
    """Return why CreateJob refuses, after a look that it kept nothing."""
    answer = await caller.aws("POST", "/job", body)
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "ValidationException")
    found = await caller.aws("POST", "/jobs", {"filters": []})
    assert found.json == {"jobs": []}
    return str(answer.json["message"])


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_the_sdk_runs_jobs_and_reads_them_back(place: Place) -> None:
    found = await place.drive("drive_braket_jobs.py", place.aws)
    first = found["prepare"]
    assert (first["state"], first["why"], first["result"]) == ("COMPLETED", None, {})
    assert first["said"] == "\nfor prepare 3 steps\n"
    assert first["tags"] == {"why": "a test"}
    assert first["events"] == ["QUEUED_FOR_EXECUTION", "RUNNING", "COMPLETED"]
    assert (first["billed"], first["position"], first["tasks"]) == (True, None, [])
    search = found["search"]
    assert (search["state"], search["why"]) == ("COMPLETED", None)
    assert search["metrics"]["iteration_number"] == [0, 1, 2]
    assert search["metrics"]["energy"] == pytest.approx([1, 0, -1], abs=0.4)
    assert search["result"]["energy"] == search["metrics"]["energy"][-1]
    assert search["result"]["cost"] == "1.11750", "3 tasks at 0.30, 150 shots at 0.00145"
    assert search["result"]["last"] == pytest.approx(3.14)
    assert search["tasks"] == ["COMPLETED"] * 3
    assert search["of the job"] == [True] * 3
    assert search["priorities"] == ["Priority"] * 3
    assert found["cancelled"] == {"asked": "CANCELLING", "state": "CANCELLED"}
    assert found["overdue"]["state"] == "FAILED"
    assert "longer than the 1 s" in found["overdue"]["why"]


def link(name: str, to: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, to
    return member


def huge(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = 300 << 20
    return member


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"no archive", "not a tar archive"),
        (packed(script="")[:40], "not a tar archive"),
        (archive(("script.py", b""), ("../../../run.py", b"")), "out of its folder"),
        (archive(("script.py", b""), ("/etc/cron.d/x", b"")), "out of its folder"),
        (archive(("script.py", b""), link("key", "/etc/shadow")), "neither a file nor a folder"),
        (archive(("script.py", b""), huge("b.py")), "over 256 MiB"),
        (packed(other=""), "no module script"),
    ],
    ids=["no archive", "cut", "up", "absolute", "link", "bomb", "no entry"],
)
async def test_a_source_that_could_do_harm_is_refused_before_anything_runs(
    caller: Caller, data: bytes, why: str
) -> None:
    assert (await put(caller, data)).status == 200
    assert why in await refused(caller, asked())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"jobName": "-"}, "jobName"),
        ({"deviceConfig": {"device": "arn:aws:braket:::device/none"}}, "none"),
        ({"outputDataConfig": {"s3Path": "file:///etc"}}, "s3://"),
        ({"stoppingCondition": {"maxRuntimeInSeconds": 0}}, "maxRuntimeInSeconds"),
        ({"instanceConfig": {"instanceType": "ml.m5.large", "volumeSizeInGb": 1,
                             "instanceCount": 2}}, "one instance"),
        ({"algorithmSpecification": {"scriptModeConfig": {
            "entryPoint": "../a", "s3Uri": f"s3://{BUCKET}/code/source.tar.gz"}}}, "entryPoint"),
        ({"algorithmSpecification": {"containerImage": {
            "uri": "000000000000.dkr.ecr.eu-north-1.amazonaws.com/mine:1"},
            "scriptModeConfig": {"entryPoint": "script",
                                 "s3Uri": f"s3://{BUCKET}/code/source.tar.gz"}}}, "no stack"),
        ({"inputDataConfig": [{"channelName": "..", "dataSource": {
            "s3DataSource": {"s3Uri": f"s3://{BUCKET}/a"}}}]}, "channelName"),
    ],
    ids=["name", "device", "output", "time", "instances", "entry", "image", "channel"],
)  # fmt: skip
async def test_a_request_that_cannot_be_met_is_refused_at_once(
    caller: Caller, changes: dict[str, Any], why: str
) -> None:
    assert (await put(caller, packed(script=""))).status == 200
    assert why in await refused(caller, asked(**changes))


async def test_a_source_that_is_not_there_is_named(caller: Caller) -> None:
    assert "code/source.tar.gz" in await refused(caller, asked())


async def test_a_machine_that_policy_forbids_is_refused(make_context: MakeContext) -> None:
    engine = QuantumEngine(make_context(countries=("US",)))
    await engine.start()
    try:
        caller = Caller(engine)
        await put(caller, packed(script=""))
        garnet = {"device": "arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet"}
        answer = await caller.aws("POST", "/job", asked(deviceConfig=garnet))
        assert (answer.status, answer.headers["x-amzn-errortype"]) == (403, "AccessDeniedException")
    finally:
        await engine.stop()


async def over(engine: QuantumEngine, job: str) -> JobState:
    async with asyncio.timeout(20):
        while not (found := await engine.desk.hybrid.job(job)).over:
            await asyncio.sleep(0.01)
    return found.state


async def create(caller: Caller, **changes: Any) -> str:
    answer = await caller.aws("POST", "/job", asked(**changes))
    assert answer.status == 201, answer.body
    return str(answer.json["jobArn"])


async def test_where_no_program_can_be_kept_apart_a_job_fails_and_says_why(
    caller: Caller, engine: QuantumEngine
) -> None:
    await put(caller, packed(script=""))
    arn = await create(caller, tags={"a": "b"})
    assert await create(caller, tags={"a": "b"}) == arn, "the same token finds the same job"
    changed = await caller.aws("POST", "/job", asked(tags={}))
    assert changed.headers["x-amzn-errortype"] == "ConflictException"
    assert await over(engine, arn.rpartition("/")[2]) is JobState.FAILED
    found = (await caller.aws("GET", f"/job/{quote(arn, safe='')}")).json
    assert "no node to start it" in found["failureReason"]
    assert found["queueInfo"]["position"] == "None"
    assert found["instanceConfig"]["instanceType"] == "ml.m5.large"
    tags = await caller.aws("GET", f"/tags/{quote(arn, safe='')}")
    assert tags.json == {"tags": {"a": "b"}}
    again = await caller.aws("PUT", f"/job/{quote(arn, safe='')}/cancel")
    assert again.headers["x-amzn-errortype"] == "ConflictException"
    for name, value, operator, count in (
        ("jobName", "a-job", "EQUAL", 1),
        ("jobName", "-jo", "CONTAINS", 1),
        ("status", "RUNNING", "EQUAL", 0),
        ("createdAt", "2020-01-01", "GT", 1),
    ):
        wanted = {"name": name, "values": [value], "operator": operator}
        page = await caller.aws("POST", "/jobs", {"filters": [wanted]})
        assert len(page.json["jobs"]) == count
    for name, operator in (("jobName", "LIKE"), ("roleArn", "EQUAL")):
        wanted = {"name": name, "values": ["x"], "operator": operator}
        page = await caller.aws("POST", "/jobs", {"filters": [wanted]})
        assert page.headers["x-amzn-errortype"] == "ValidationException"


async def test_no_more_jobs_wait_than_a_bound(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "OPEN_MAX", 0)
    await put(caller, packed(script=""))
    answer = await caller.aws("POST", "/job", asked())
    assert answer.status == 402
    assert answer.headers["x-amzn-errortype"] == "ServiceQuotaExceededException"


async def test_a_job_that_ran_when_the_node_was_killed_has_failed(
    make_context: MakeContext,
) -> None:
    engine = QuantumEngine(make_context())
    await engine.start()
    caller = Caller(engine)
    await put(caller, packed(script=""))
    arn = await create(caller)
    job = arn.rpartition("/")[2]
    await over(engine, job)
    now = engine.desk.context.clock.now()
    made = msgspec.structs.replace(
        await engine.desk.hybrid.job(job), id="ran", state=JobState.RUNNING, started=now
    )
    made = msgspec.structs.replace(
        made,
        request=msgspec.structs.replace(made.request, token="two"),
    )
    await engine.desk.stored(records.add, made)
    await engine.stop()
    again = QuantumEngine(make_context())
    await again.start()
    try:
        found = await again.desk.hybrid.job("ran")
        assert found.state is JobState.FAILED
        assert "The node stopped while the job ran" in found.why
    finally:
        await again.stop()


async def test_an_export_brings_jobs_their_lines_and_their_files_back(
    caller: Caller, engine: QuantumEngine, tmp_path: Path
) -> None:
    source = packed(script="")
    await put(caller, source)
    arn = await create(caller)
    job = arn.rpartition("/")[2]
    await over(engine, job)
    await engine.desk.stored(records.say, job, b"1700000000000 hello\n")
    before = await engine.word_hybrid_list(Page())
    (tmp_path / "export").mkdir()
    await engine.export(tmp_path / "export")
    await caller.aws("DELETE", f"/{BUCKET}/code/source.tar.gz", service="s3")
    await engine.restore(tmp_path / "export")
    assert await engine.word_hybrid_list(Page()) == before
    assert await engine.desk.hybrid.said(job) == b"1700000000000 hello\n"
    found = await caller.aws("GET", f"/{BUCKET}/code/source.tar.gz", service="s3")
    assert found.body == source


async def test_files_are_kept_copied_listed_and_read_in_parts(caller: Caller) -> None:
    assert (await put(caller, b"0123456789", "a/one")).status == 200
    copied = await copy(caller, f"{BUCKET}/a/one", "a/two")
    assert copied.status == 200
    missing = await copy(caller, f"{BUCKET}/a/three", "a/four")
    assert missing.status == 404
    listed = await caller.aws("GET", f"/{BUCKET}?list-type=2&prefix=a%2F", service="s3")
    keys = [each.text for each in ElementTree.fromstring(listed.body).iter() if _is_key(each)]
    assert keys == ["a/one", "a/two"]
    assert (await caller.aws("HEAD", f"/{BUCKET}/a/two", service="s3")).headers[
        "content-length"
    ] == "10"
    await caller.aws("DELETE", f"/{BUCKET}/a/two", service="s3")
    assert (await caller.aws("GET", f"/{BUCKET}/a/two", service="s3")).status == 404
    bad = await caller.aws("PUT", "/NO/a", b"", service="s3")
    assert bad.status == 400


async def copy(caller: Caller, source: str, key: str) -> Answer:
    return await caller.aws(
        "PUT", f"/{BUCKET}/{key}", b"", service="s3", headers={"x-amz-copy-source": source}
    )


def _is_key(each: ElementTree.Element) -> bool:
    return each.tag.endswith("}Key")


async def test_large_files_come_in_parts(caller: Caller) -> None:
    begun = await caller.aws("POST", f"/{BUCKET}/big?uploads=", b"", service="s3")
    upload = begun.body.partition(b"<UploadId>")[2].partition(b"<")[0].decode()
    tags = []
    for number, data in ((1, b"a" * 10), (2, b"b" * 5)):
        path = f"/{BUCKET}/big?partNumber={number}&uploadId={upload}"
        tags.append((await caller.aws("PUT", path, data, service="s3")).headers["etag"])
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
        for number, tag in enumerate(tags, start=1)
    )
    body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    path = f"/{BUCKET}/big?uploadId={upload}"
    wrong = await caller.aws("POST", path, body.replace(b"Number>1<", b"Number>3<"), service="s3")
    assert wrong.status == 400
    assert (await caller.aws("POST", path, body, service="s3")).status == 200
    found = await caller.aws("GET", f"/{BUCKET}/big", service="s3")
    assert found.body == b"a" * 10 + b"b" * 5
    gone = await caller.aws("POST", path, body, service="s3")
    assert gone.status == 400


async def test_a_log_is_read_in_pages_and_only_metrics_are_queried(
    caller: Caller, engine: QuantumEngine
) -> None:
    await put(caller, packed(script=""))
    arn = await create(caller)
    job = arn.rpartition("/")[2]
    await over(engine, job)
    said = b"1000 one\n2000 Metrics - timestamp=1.5; cost=2; wrong=no;\n3000 three\n"
    await engine.desk.stored(records.say, job, said)
    group, prefix = {"logGroupName": "/aws/braket/jobs"}, f"a-job/{job}"

    async def ask(action: str, **body: Any) -> Answer:
        headers = {"x-amz-target": f"{LOGS}{action}"}
        return await caller.aws("POST", "/", group | body, service="logs", headers=headers)

    (stream,) = (await ask("DescribeLogStreams", logStreamNamePrefix=prefix)).json["logStreams"]
    name = stream["logStreamName"]
    assert (await ask("DescribeLogStreams", logStreamNamePrefix="x")).json == {"logStreams": []}
    page = (await ask("GetLogEvents", logStreamName=name, startFromHead=True, limit=2)).json
    assert [each["message"][:5] for each in page["events"]] == ["one", "Metri"]
    token = page["nextForwardToken"]
    page = (await ask("GetLogEvents", logStreamName=name, nextToken=token)).json
    assert [each["message"] for each in page["events"]] == ["three"]
    page = (await ask("GetLogEvents", logStreamName=name, nextToken="x")).json
    assert page["__type"] == "ValidationException"
    other = await ask("GetLogEvents", logStreamName=name, logGroupName="other")
    assert other.json["__type"] == "ResourceNotFoundException"
    told = (await engine.desk.hybrid.told(job)).metrics
    assert [(each.at, each.values) for each in told] == [(1.5, {"cost": 2.0})]
    free = await ask("StartQuery", queryString="fields @message", startTime=0, endTime=9)
    assert free.json["__type"] == "ValidationException"


async def test_the_key_of_a_job_ends_with_it(caller: Caller, engine: QuantumEngine) -> None:
    await put(caller, packed(script=""))
    job = (await create(caller)).rpartition("/")[2]
    await over(engine, job)
    caller.access_key = claim.job_access_key(engine.context.id, job)
    caller.secret_key = claim.job_secret_key(job, engine.context.keys)
    answer = await caller.aws("POST", "/jobs", {"filters": []})
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (
        403,
        "UnrecognizedClientException",
    )
    assert (await caller.aws("GET", f"/{BUCKET}?list-type=2", service="s3")).status == 403
