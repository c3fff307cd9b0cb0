"""Azure Quantum's API: driven by its own client, by hand, and by what no client would send."""

from __future__ import annotations

import base64
import gzip
import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyqir
import pytest

from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import SkerryError
from skerry.kernel.kind import Head
from skerry.kinds.quantum import claim, transfer
from skerry.kinds.quantum.contract import JobState
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.store import Store
from skerry.kinds.quantum.tests.conftest import RESOURCE_ID, MakeContext
from skerry.kinds.quantum.tests.test_pulser import sequence
from skerry.kinds.quantum.tests.wires.calling import Answer, Caller
from skerry.kinds.quantum.tests.wires.conftest import Place, python_of
from skerry.kinds.quantum.tests.wires.recording import READ_0, READ_1, recording
from skerry.kinds.quantum.wires.azure import blobs, results, signing

ROOT = "/azure/subscriptions/s/resourceGroups/g/providers/Microsoft.Quantum/workspaces/w"
GHZ = {"qubits": 2, "circuit": [{"gate": "h", "target": 0}, {"gate": "cnot", "control": 0,
                                                             "target": 1}]}  # fmt: skip
FIRST = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[3]; creg c[3]; x q[0]; measure q -> c;'
NOBODY = str(uuid.UUID(int=1))
BLOCK = {"x-ms-blob-type": "BlockBlob"}


DECLARED = "".join(
    f"declare void @__quantum__{name}({kinds})\n"
    for name, kinds in (
        ("qis__x__body", "ptr"),
        ("qis__m__body", "ptr, ptr"),
        ("rt__array_record_output", "i64, ptr"),
        ("rt__result_record_output", "ptr, ptr"),
    )
) + "".join(f'@{number} = internal constant [1 x i8] c"a"\n' for number in range(3))
REVERSED = recording("rt__array_record_output(i64 2, ptr @2)", READ_1, READ_0)


class Client:
    """Speaks to one engine as azure-quantum does, without a network between."""

    def __init__(self, engine: QuantumEngine) -> None:
        self.engine = engine
        self.call = Caller(engine)

    async def api(self, method: str, path: str, body: Any = None, token: str = "") -> Answer:
        key = {"x-ms-quantum-api-key": token or self.call.token}
        return await self.call(method, f"{ROOT}/{path}", body, key)

    async def address(self, container: str, blob: str = "") -> str:
        asked = {"containerName": container} | ({"blobName": blob} if blob else {})
        found = await self.api("POST", "storage/sasUri", asked)
        assert found.status == 200, found.body
        parts = urlsplit(found.json["sasUri"])
        return f"{parts.path}?{parts.query}"

    async def blob(
        self, method: str, place: str, name: str, body: Any = None, query: str = "", **heads: str
    ) -> Answer:
        path, _, signed = place.partition("?")
        named = {key.replace("_", "-"): value for key, value in heads.items()}
        kind = BLOCK if method == "PUT" and not query else {}
        return await self.call(method, f"{path}/{name}?{signed}{query}", body, {**kind, **named})

    async def send(self, data: Any, target: str, form: str, **more: Any) -> Answer:
        job = more.pop("id", str(uuid.uuid4()))
        place = await self.address(f"job-{job}")
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        sent = await self.blob("PUT", place, "inputData", raw, **more.pop("heads", {}))
        assert sent.status == 201, sent.body
        body = {
            "providerId": target.partition(".")[0],
            "target": target,
            "itemType": "Job",
            "containerUri": f"http://host{place}",
            "inputDataFormat": form,
            "inputParams": {"shots": 20},
            "name": "by hand",
        }
        return await self.api("PUT", f"jobs/{job}", body | more)

    async def outcome(self, answer: Answer) -> Any:
        """Wait for a job that was sent, and return what its output holds."""
        assert answer.status == 201, answer.body
        await self.engine.desk.wait(answer.json["id"], 50.0)
        job = (await self.api("GET", f"jobs/{answer.json['id']}")).json
        assert job["status"] == "Succeeded", job
        parts = urlsplit(job["outputDataUri"])
        found = await self.call("GET", f"{parts.path}?{parts.query}")
        assert found.status == 200
        return found.json


@pytest.fixture
def client(engine: QuantumEngine) -> Client:
    return Client(engine)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_official_clients(place: Place) -> None:
    python = python_of("clients-azure")
    fields = place.fields
    near = sequence(((400, 7.85, 0.0, 0.0),), ((0.0, 0.0), (0.0, 5.0)))
    parts = (fields["url"], fields["token"], near)
    found = await place.drive("drive_azure.py", {}, *parts, python=python, guide="Azure Quantum")
    hand = found["hand"]
    assert {"ionq.qpu.forte-1", "quantinuum.sim.h2-1e", "pasqal.sim.emu-sv"} <= set(hand["targets"])
    assert hand["ionq"]["0"] == pytest.approx(0.5, abs=0.05)
    assert set(hand["ionq"]) == {"0", "7"}
    assert (hand["state"], hand["again"]) == ("Succeeded", "three")
    assert hand["input"]["qubits"] == 3
    assert hand["quantinuum"].count("001") > 15
    assert hand["rigetti"] == [[0, 0]] * 5 + [[1, 0]] * 5
    assert hand["attached"] == ["inputData", "large", "notes", "rawOutputData"]
    assert (hand["notes"], hand["large"]) == ("remember", 256 * 12_000)
    assert found["sessions"] == {
        "open": "Executing",
        "closed": "Succeeded",
        "jobs": ["job 0", "job 1"],
        "listed": ["several"],
        "late": [409, "Conflict"],
    }
    listing = found["listing"]
    assert listing["jobs"] == ["job 0", "job 1"]
    assert listing["top"] == ["several"]
    assert listing["renamed"] == ["renamed", ["second"]]
    assert listing["cost"] == ["EUR", 23.445455, 1]
    assert "not the hardware" in listing["nature"]
    assert listing["gone"] == 404
    assert found["refused"] == {
        name: [400, "InvalidRequest"] for name in ("wide", "gate", "shots", "format")
    } | {"token": [401, "Unauthorized"]}
    by_qiskit = found["qiskit"]
    for name in ("ionq.simulator", "quantinuum.sim.h2-1e", "rigetti.qpu.cepheus-1-108q"):
        counts = by_qiskit[name]
        assert counts["0 01"] + counts["1 01"] > 160
        assert min(counts["0 01"], counts["1 01"]) > 50
        assert by_qiskit[f"{name} memory"] == 200
    assert by_qiskit["json"] == {"01": 50}
    assert by_qiskit["deciding"]["11"] > 40
    assert found["cirq"]["generic"] == [[1, 0]] * 20
    assert found["cirq"]["ionq"] == {"2": 20}
    assert found["qsharp"]["shots"] == [[0, 1]] * 30
    assert found["qsharp"]["histogram"] == {"[0, 1]": {"outcome": [0, 1], "count": 30}}
    deciding = found["qsharp"]["deciding"]["(1, true)"]
    assert deciding["outcome"] == [1, True]
    assert deciding["count"] > 40
    assert found["qsharp"]["old"] == {"[0, 1]": 1.0}
    assert found["qsharp"]["estimate"] > 0
    assert sum(found["pulser"].values()) == 50


async def test_every_format_has_its_own_outcome(client: Client) -> None:
    send = client.send
    noisy = {"inputParams": {"shots": 200, "noise": {"model": "forte-1"}}}
    job = await send(GHZ, "ionq.simulator", "ionq.circuit.v1", **noisy, name="noisy")
    assert "IonQ Forte 1" in job.json["metadata"]["nature"]
    found = (await client.outcome(job))["histogram"]
    assert found["0"] + found["3"] > 0.9
    found = await client.outcome(await send(GHZ, "ionq.simulator", "ionq.circuit.v1"))
    assert set(found["histogram"]) == {"0", "3"}
    zipped = {"x_ms_blob_content_encoding": "gzip"}
    packed = gzip.compress(FIRST.encode())
    job = await send(packed, "quantinuum.sim.h2-1e", "honeywell.openqasm.v1", heads=zipped)
    assert (await client.outcome(job))["c"].count("001") > 15
    job = await send(REVERSED.encode(), "rigetti.sim.qvm", "qir.v1")
    found = await client.outcome(job)
    assert found["Results"][0]["Histogram"] == [
        {"Outcome": [0, 1], "Display": "[0, 1]", "Count": 20}
    ]
    assert found["Results"][0]["Shots"] == [[0, 1]] * 20
    job = await send(REVERSED.encode(), "ionq.simulator", "qir.v1", outputDataFormat=results.V1)
    assert await client.outcome(job) == {"Histogram": ["[0, 1]", 1.0]}
    bitcode = pyqir.Module.from_ir(pyqir.Context(), DECLARED + REVERSED).bitcode
    job = await send(bitcode, "quantinuum.qpu.h2-1", "qir.v1")
    assert (await client.outcome(job))["Results"][0]["Shots"].count([0, 1]) > 15
    job = await send(REVERSED.encode(), "quantinuum.sim.h2-1sc", "qir.v1")
    assert (await client.outcome(job))["Results"][0]["Shots"] == [[0, 0]] * 20
    assert "nothing of the program was run" in job.json["metadata"]["nature"]
    rows = (await client.api("GET", "jobs?top=5&filter=startswith(Name,'by')")).json
    assert len(rows["value"]) == 5
    more = urlsplit(rows["nextLink"])
    rest = (await client.call("GET", f"{more.path}?{more.query}", None, {
        "Authorization": f"Bearer {client.call.token}"})).json  # fmt: skip
    assert [each["name"] for each in rest["value"]] == ["by hand"]
    providers = (await client.api("GET", "providerStatus")).json["value"]
    assert [each["id"] for each in providers] == [
        "ionq", "pasqal", "quantinuum", "rigetti", "microsoft-qc",
    ]  # fmt: skip


async def test_a_job_that_is_sent_twice_is_one(client: Client) -> None:
    job = str(uuid.uuid4())
    first = await client.send(GHZ, "ionq.simulator", "ionq.circuit.v1", id=job)
    again = await client.api("PUT", f"jobs/{job}", {
        "providerId": "ionq", "target": "ionq.simulator", "containerUri": f"x://y/job-{job}",
        "inputDataFormat": "ionq.circuit.v1", "inputParams": {"shots": 20}, "name": "by hand",
    })  # fmt: skip
    assert (first.status, again.status) == (201, 201)
    assert again.json["id"] == first.json["id"] == job
    other = await client.api("PUT", f"jobs/{job}", {
        "providerId": "ionq", "target": "ionq.simulator", "containerUri": f"x://y/job-{job}",
        "inputDataFormat": "ionq.circuit.v1", "inputParams": {"shots": 21}, "name": "by hand",
    })  # fmt: skip
    assert (other.status, other.json["error"]["code"]) == (409, "Conflict")
    assert len(await client.engine.desk.jobs()) == 1
    assert (await client.api("DELETE", f"jobs/{job}")).status == 204
    assert (await client.api("GET", f"jobs/{job}")).status == 404
    assert (await client.api("GET", "jobs")).json["value"] == []
    assert (await client.engine.desk.job(job)).over
    assert await client.engine.desk.stored(blobs.within, f"job-{job}") == []


BAD: tuple[tuple[Any, str, str, dict[str, Any], int, str], ...] = (
    (b"{", "ionq.simulator", "ionq.circuit.v1", {}, 400, "malformed"),
    (GHZ, "ionq.simulator", "qir.v1", {}, 400, "not QIR"),
    (GHZ, "ionq.simulator", "rigetti.quil.v1", {}, 400, "takes no programs"),
    (GHZ, "ionq.simulator", "ionq.circuit.v1", {"outputDataFormat": "csv"}, 400, "written as"),
    (GHZ, "ionq.simulator", "ionq.circuit.v1", {"providerId": "rigetti"}, 400, "not of rigetti"),
    (GHZ, "ionq.simulator", "ionq.circuit.v1", {"inputParams": {"shots": "x"}}, 400, "shots"),
    (GHZ, "ionq.simulator", "ionq.circuit.v1", {"inputParams": []}, 400, "malformed"),
    (GHZ, "ionq.simulator", "ionq.circuit.v1", {"priority": "High"}, 400, "priority"),
    (GHZ, "ionq.simulator", "ionq.circuit.v1", {"sessionId": NOBODY}, 404, "session"),
    (GHZ, "ionq.simulator", "ionq.circuit.v1", {"containerUri": "x://y/job-x"}, 400, "not sent"),
    (GHZ, "ionq.simulator", "ionq.circuit.v1", {"metadata": {"a": "x" * 70_000}}, 400, "KiB"),
    (GHZ, "ionq.simulator", "ionq.circuit.v1", {"name": "n" * 300}, 400, "256"),
    (GHZ, "ionq.simulator", "ionq.circuit.v1", {"inputParams": {"noise": {"model": "none"}}},
     404, "noise model"),
    (GHZ, "ionq.simulator", "ionq.circuit.v1", {"inputParams": {"noise": "loud"}}, 400, "noise"),
    (GHZ, "ionq.simulator", "ionq.circuit.v1",
     {"inputParams": {"error-mitigation": {"debias": True}}}, 400, "Debiasing"),
    (GHZ, "ionq.qpu.nowhere", "ionq.circuit.v1", {}, 404, "no target"),
    (b"BC\xc0\xde", "ionq.simulator", "qir.v1", {}, 400, "bitcode"),
    (FIRST.replace("[3]", "[57]").encode(), "quantinuum.sim.h2-1sc", "honeywell.openqasm.v1", {},
     400, "57"),
    (b"\xff\xfe", "quantinuum.qpu.h2-1", "honeywell.openqasm.v1", {}, 400, "UTF-8"),
    (FIRST.replace("x q", "no q").encode(), "quantinuum.qpu.h2-1", "honeywell.openqasm.v1", {},
     400, "no"),
    (gzip.compress(b"0" * (5 << 20)), "quantinuum.qpu.h2-1", "honeywell.openqasm.v1",
     {"heads": {"x_ms_blob_content_encoding": "gzip"}}, 413, "4 MiB"),
    (REVERSED.replace("i64 2, ptr @2", "i64 3, ptr @2").encode(), "ionq.simulator", "qir.v1", {},
     400, "announces"),
)  # fmt: skip


async def test_bad_jobs_have_azures_shape_and_queue_nothing(client: Client) -> None:
    for data, target, form, more, status, says in BAD:
        answer = await client.send(data, target, form, **more)
        assert answer.status == status, (says, answer.body)
        error = answer.json["error"]
        assert says in error["message"], error
        assert answer.headers["x-ms-error-code"] == error["code"]
    wrong = await client.api("GET", "jobs", token=f"skt_{RESOURCE_ID}_wrong")
    assert (wrong.status, wrong.json["error"]["code"]) == (401, "Unauthorized")
    assert (await client.api("PUT", "jobs/not-an-id", {})).status == 400
    assert (await client.api("GET", "jobs?filter=Name")).status == 400
    assert await client.engine.desk.jobs() == []


async def test_an_address_opens_what_it_is_signed_for_and_nothing_else(client: Client) -> None:
    own, other = await client.address("first"), await client.address("second")
    blob, read = client.blob, await client.address("first", "one")
    assert (await blob("PUT", own, "one", b"0123456789", x_ms_meta_a="b")).status == 201
    repeated = await blob("PUT", own, "one", b"other", if_none_match="*")
    assert (repeated.status, repeated.headers["x-ms-error-code"]) == (409, "BlobAlreadyExists")
    found = await blob("GET", own, "one", x_ms_range="bytes=2-4")
    assert (found.status, found.body) == (206, b"234")
    assert found.headers["content-range"] == "bytes 2-4/10"
    assert found.headers["x-ms-meta-a"] == "b"
    assert (await blob("GET", own, "one", x_ms_range="bytes=10-")).status == 416
    assert (await client.call("GET", read)).body == b"0123456789"
    assert (await client.call("HEAD", read)).headers["content-length"] == "10"
    path, _, signed = other.partition("?")
    stolen = f"{own.partition('?')[0]}/one?{signed}"
    more = signed.replace("sp=rcwl", "sp=rcwld")
    for method, place in (
        ("GET", stolen),
        ("GET", f"{own.partition('?')[0]}/one"),
        ("PUT", read),
        ("GET", f"{path}/one?{more}"),
        ("DELETE", read),
    ):
        answer = await client.call(method, place, b"x", BLOCK)
        assert (answer.status, answer.headers["x-ms-error-code"]) == (403, "AuthenticationFailed")
        assert answer.body.startswith(b"<?xml")
    assert (await client.call("GET", read)).body == b"0123456789"
    head = Head(b"GET", f"/azure-{RESOURCE_ID}-first/first/one".encode(), b"", ())
    assert claim.claim(head) == RESOURCE_ID


async def test_blocks_make_a_blob_and_everything_is_bounded(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, blob = await client.address("parts"), client.blob
    ids = [base64.b64encode(f"{number:10}".encode()).decode() for number in range(2)]
    for each, data in zip(ids, (b"first ", b"second"), strict=True):
        sent = await blob("PUT", own, "whole", data, f"&comp=block&blockid={each}")
        assert sent.status == 201
    rows = "".join(f"<Latest>{each}</Latest>" for each in ids)
    listed = f"<BlockList>{rows}</BlockList>".encode()
    assert (await blob("PUT", own, "whole", listed, "&comp=blocklist")).status == 201
    assert (await blob("GET", own, "whole")).body == b"first second"
    for bad in (b"<BlockList><Latest>AAAA</Latest></BlockList>", b"<no", b"<Other/>"):
        assert (await blob("PUT", own, "whole", bad, "&comp=blocklist")).status == 400
    assert (await blob("GET", own, "whole")).body == b"first second"
    listing = await client.call("GET", f"{own}&restype=container&comp=list")
    assert b"<Name>whole</Name>" in listing.body
    assert (await client.call("PUT", f"{own}&restype=container")).status == 409
    big = await blob("PUT", own, "big", bytes(blobs.BLOB_BYTES_MAX + 1))
    assert (big.status, big.headers["x-ms-error-code"]) == (413, "RequestBodyTooLarge")
    monkeypatch.setattr(blobs, "ALL_BYTES_MAX", 100)
    assert (await blob("PUT", own, "more", b"x")).status == 413
    monkeypatch.setattr(blobs, "ALL_BYTES_MAX", 1 << 20)
    monkeypatch.setattr(blobs, "CONTAINER_BYTES_MAX", 100)
    assert (await blob("PUT", own, "more", b"x")).status == 413
    monkeypatch.setattr(blobs, "CONTAINER_BYTES_MAX", 1 << 20)
    monkeypatch.setattr(blobs, "BLOBS_MAX", 1)
    assert (await blob("PUT", own, "more", b"x")).status == 413
    assert (await blob("DELETE", own, "whole")).status == 202
    assert (await blob("GET", own, "whole")).status == 404


class Later(SystemClock):
    """A clock that is ahead."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def now(self) -> int:
        return super().now() + int(self.seconds * 1e9)


def test_an_address_opens_for_an_hour(make_context: MakeContext) -> None:
    context = make_context()
    query = dict(
        each.split("=", 1)
        for each in urlsplit(signing.link(context, "http://x", "job")).query.split("&")
    )
    query = {name: value.replace("%3A", ":") for name, value in query.items()}
    signing.check(replace(context, clock=Later(3500)), query, ("job", "a"), "w")
    with pytest.raises(SkerryError, match="until"):
        signing.check(replace(context, clock=Later(3700)), query, ("job", "a"), "w")
    later = query | {"se": query["se"].replace("20", "21", 1)}
    with pytest.raises(SkerryError, match="not signed"):
        signing.check(context, later, ("job", "a"), "w")


async def test_a_job_that_waits_is_cancelled_and_one_that_runs_is_stopped(client: Client) -> None:
    layers = "".join(
        f"ry(0.{turn + 3}) q; " + "".join(f"cz q[{i}], q[{i + 1}]; " for i in range(11))
        for turn in range(7)
    )
    text = f'OPENQASM 2.0; include "qelib1.inc"; qreg q[12]; creg c[12]; {layers} measure q -> c;'
    params = {"inputParams": {"shots": 10_000}}
    runs = await client.send(
        text.encode(), "quantinuum.qpu.h2-1", "honeywell.openqasm.v1", **params
    )
    assert runs.status == 201, runs.body
    waits = await client.send(GHZ, "ionq.simulator", "ionq.circuit.v1")
    for sent, stopped in ((waits, "Cancelled"), (runs, "Cancel")):
        answer = await client.api("POST", f"jobs/{sent.json['id']}:cancel")
        assert answer.status == 200
        assert answer.json["status"].startswith(stopped)
        await client.engine.desk.wait(sent.json["id"], 30.0)
        told = (await client.api("GET", f"jobs/{sent.json['id']}")).json
        assert told["status"] == "Cancelled"
        assert told["cancellationTime"]


async def test_blobs_and_estimates_are_exported_with_the_jobs(
    client: Client, tmp_path: Path
) -> None:
    desk = client.engine.desk
    job = (await client.send(GHZ, "ionq.simulator", "ionq.circuit.v1")).json["id"]
    target = tmp_path / "export"
    target.mkdir()
    await desk.stored(transfer.export, target)
    await desk.stored(blobs.remove, f"job-{job}")
    await desk.restore(target)
    found = await desk.stored(blobs.get, f"job-{job}", "inputData")
    assert json.loads(found.data) == GHZ


async def test_blobs_of_no_job_are_dropped_a_day_later(engine: QuantumEngine) -> None:
    desk, day = engine.desk, 86_400 * 10**9
    old = blobs.packed("inputData", b"x", 10)
    for container in ("lost", f"job-{uuid.UUID(int=3)}"):
        await desk.stored(blobs.keep, container, old, fresh=True)
    client = Client(engine)
    answer = await client.send(GHZ, "ionq.simulator", "ionq.circuit.v1")
    job = answer.json["id"]
    kept = replace_created(await desk.stored(blobs.get, f"job-{job}", "inputData"), 10)
    await desk.stored(blobs.keep, f"job-{job}", kept, fresh=False)
    now = desk.context.clock.now() + 2 * day
    await desk.stored(blobs.keep, "new", blobs.packed("a", b"y", now), fresh=True)
    for container, count in (("lost", 0), (f"job-{uuid.UUID(int=3)}", 0), (f"job-{job}", 1)):
        assert len(await desk.stored(blobs.within, container)) == count, container


def replace_created(blob: blobs.Blob, at: int) -> blobs.Blob:
    return blobs.packed(blob.name, blob.data, at)


async def test_sessions_end_by_idleness_by_failure_and_by_hand(client: Client) -> None:
    def session(number: int, policy: str) -> tuple[str, dict[str, Any]]:
        body = {"providerId": "ionq", "target": "ionq.simulator", "name": policy}
        return f"sessions/{uuid.UUID(int=number)}", {**body, "jobFailurePolicy": policy}

    place, body = session(1, "Abort")
    assert (await client.api("PUT", place, body)).json["status"] == "Waiting"
    assert (await client.api("PUT", place, body)).status == 201, "it is told as it stands"
    assert (await client.api("PUT", place, {**body, "name": "other"})).status == 409
    more = {"sessionId": str(uuid.UUID(int=1))}
    sent = await client.send(GHZ, "ionq.simulator", "ionq.circuit.v1", **more)
    await client.outcome(sent)
    assert (await client.api("GET", place)).json["status"] == "Executing"
    elsewhere = await client.send(REVERSED.encode(), "rigetti.sim.qvm", "qir.v1", **more)
    assert (elsewhere.status, elsewhere.json["error"]["code"]) == (409, "Conflict")
    job = await client.engine.desk.job(sent.json["id"])
    await client.engine.desk.stored(forced, job.id, JobState.FAILED)
    assert (await client.api("GET", place)).json["status"] == "Failed"
    late = await client.send(GHZ, "ionq.simulator", "ionq.circuit.v1", **more)
    assert late.status == 409
    place, body = session(2, "Continue")
    await client.api("PUT", place, body)
    context = client.engine.desk.context
    client.engine.desk.context = replace(context, clock=Later(700))
    assert (await client.api("GET", place)).json["status"] == "TimedOut"
    late = await client.send(
        GHZ, "ionq.simulator", "ionq.circuit.v1", sessionId=str(uuid.UUID(int=2))
    )
    assert late.status == 409
    client.engine.desk.context = context
    assert (await client.api("POST", f"{place}:close")).json["status"] == "Succeeded"
    listed = (await client.api("GET", "topLevelItems?filter=ItemType eq 'Session'")).json["value"]
    assert [each["name"] for each in listed] == ["Continue", "Abort"]


def forced(store: Store, job: str, state: JobState) -> None:
    """Write a state that no step leads to."""
    sql = "UPDATE jobs SET state = ?1, body = json_set(CAST(body AS TEXT), '$.state', ?1)"
    store.db.execute(f"{sql} WHERE id = ?2", (state.value, job))


async def test_the_estimator_is_a_target(client: Client) -> None:
    code = recording(READ_0).replace(
        "block_0:\n", "block_0:\n  call void @__quantum__qis__t__body(ptr null)\n"
    )
    params = {"errorBudget": 0.01, "items": [{}, {"qubitParams": {"name": "qubit_maj_ns_e6"},
              "qecScheme": {"name": "floquet_code"}}]}  # fmt: skip
    sent = await client.send(
        code.encode(),
        "microsoft.estimator",
        "qir.v1",
        providerId="microsoft-qc",
        inputParams=params,
    )
    assert sent.status == 201, sent.body
    assert sent.json["status"] == "Succeeded"
    parts = urlsplit(sent.json["outputDataUri"])
    found = (await client.call("GET", f"{parts.path}?{parts.query}")).json
    gate, majorana = (each["physicalCounts"]["physicalQubits"] for each in found)
    assert gate > 0
    assert gate != majorana
    job = sent.json["id"]
    names = [each["target"] for each in (await client.api("GET", "jobs")).json["value"]]
    assert names == ["microsoft.estimator"]
    bad = await client.send(
        code.encode(),
        "microsoft.estimator",
        "qir.v1",
        inputParams={"qubitParams": {"name": "no such model"}},
    )
    assert (bad.status, bad.json["error"]["code"]) == (400, "InvalidRequest")
    assert (await client.api("DELETE", f"jobs/{job}")).status == 204
    assert (await client.api("GET", f"jobs/{job}")).status == 404


async def test_a_token_is_granted_for_the_clients_secret(
    client: Client,
) -> None:
    form = f"grant_type=client_credentials&client_secret={client.call.token}".encode()
    found = await client.call("POST", "/azure/tenant/oauth2/v2.0/token", form)
    assert (found.status, found.json["access_token"]) == (200, client.call.token)
    wrong = form.replace(b"client_secret=skt", b"client_secret=not")
    assert (await client.call("POST", "/azure/tenant/oauth2/v2.0/token", wrong)).status == 401
    assert (await client.call.bearer("GET", f"{ROOT}/jobs")).status == 200
    assert (await client.call.bearer("GET", "/azure/subscriptions")).status == 404
    quotas = (await client.api("GET", "quotas")).json["value"]
    assert {each["limit"] for each in quotas} == {10_000}
