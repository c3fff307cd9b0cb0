"""Every wire, spoken to by hand as its client speaks: the same outcome, and bad input refused."""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from typing import Any
from urllib.parse import quote

import pytest
from pulser import Pulse, Register, Sequence
from pulser.json.abstract_repr.deserializer import deserialize_device

from skerry.kernel.kind import Head
from skerry.kinds.quantum import claim
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.tests.test_perceval import HOM
from skerry.kinds.quantum.tests.wires.calling import Answer, Caller
from skerry.kinds.quantum.wires.braket import names

GARNET = "arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet"
SV1 = "arn:aws:braket:::device/quantum-simulator/amazon/sv1"
ODD = "OPENQASM 3.0; qubit[1] q; bit[1] b; frobnicate q[0]; b[0] = measure q[0];"
FIRST_OF_THREE = "OPENQASM 3.0; bit[3] b; qubit[3] q; x q[0]; i q[1]; i q[2]; b = measure q;"


@pytest.fixture
def caller(engine: QuantumEngine) -> Caller:
    return Caller(engine)


def braket_task(source: Any, **changed: Any) -> dict[str, Any]:
    action = {"braketSchemaHeader": {"name": "braket.ir.openqasm.program", "version": "1"}}
    return {
        "action": json.dumps(action | {"source": source, "inputs": {}}),
        "clientToken": "one",
        "deviceArn": GARNET,
        "shots": 20,
        "outputS3Bucket": "some-bucket",
        "outputS3KeyPrefix": "tasks",
    } | changed


def iqm_job(*steps: dict[str, Any], shots: int = 20) -> dict[str, Any]:
    return {"circuits": [{"name": "c", "instructions": list(steps)}], "shots": shots}


def prx(qubit: str, angle: float = 3.141592653589793) -> dict[str, Any]:
    return {"name": "prx", "locus": [qubit], "args": {"angle": angle, "phase": 0.0}}


def read(*qubits: str) -> dict[str, Any]:
    return {"name": "measure", "locus": list(qubits), "args": {"key": "m"}}


def aqt_circuit(*gates: dict[str, Any], qubits: int = 3, shots: int = 20) -> dict[str, Any]:
    operations = [*gates, {"operation": "MEASURE"}]
    return {"repetitions": shots, "quantum_circuit": operations, "number_of_qubits": qubits}


def aqt_job(*circuits: dict[str, Any]) -> dict[str, Any]:
    return {"job_type": "quantum_circuit", "payload": {"circuits": list(circuits)}}


def packed(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode())).decode()


def model(serialization: str, form: int = 3, compression: int = 2, **more: Any) -> dict[str, Any]:
    program = {
        "serialization": serialization,
        "serialization_format": form,
        "compression_format": compression,
    }
    return {"project_id": "p", "payload": json.dumps({"programs": [program]} | more)}


FLIP = {"operation": "R", "qubit": 0, "phi": 0.0, "theta": 1.0}


async def ended(engine: QuantumEngine, job_id: str) -> None:
    job = await engine.desk.wait(job_id, 50)
    assert job.state == "COMPLETED", job.error


async def test_the_first_of_three_qubits_is_told_first_by_every_wire(
    engine: QuantumEngine, caller: Caller
) -> None:
    made = await caller.aws(
        "POST", "/quantum-task", braket_task(FIRST_OF_THREE, deviceArn=SV1, tags={"a": "b"})
    )
    assert made.status == 201, made.body
    arn = made.json["quantumTaskArn"]
    await ended(engine, arn.rpartition("/")[2])
    quoted = arn.replace(":", "%3A").replace("/", "%2F")
    task = (await caller.aws("GET", f"/quantum-task/{quoted}")).json
    path = f"/{task['outputS3Bucket']}/{task['outputS3Directory']}/results.json"
    told = (await caller.aws("GET", path, service="s3")).json
    assert told["measurements"] == [[1, 0, 0]] * 20
    assert told["measuredQubits"] == [0, 1, 2]
    tags = await caller.aws("GET", f"/tags/{quoted}")
    assert tags.json == {"tags": {"a": "b"}}

    made = await caller.bearer(
        "POST", "/api/v1/jobs/garnet/circuit", iqm_job(prx("QB1"), read("QB1", "QB2", "QB5"))
    )
    assert made.status == 201, made.body
    job = made.json["id"]
    await ended(engine, job)
    shots = (await caller.bearer("GET", f"/api/v1/jobs/{job}/artifacts/measurements")).json
    assert len(shots[0]["m"]) == 20
    assert sum(shot == [1, 0, 0] for shot in shots[0]["m"]) > 14
    payload = (await caller.bearer("GET", f"/api/v1/jobs/{job}/payload")).json
    assert payload["circuits"][0]["instructions"][0] == prx("QB1")

    for base in ("/api/v1", "/aqt/api/v1", "/aqt/v1"):
        listed = (await caller.bearer("GET", f"{base}/workspaces")).json
        assert [each["id"] for each in listed] == ["qpu"]
    both = aqt_job(aqt_circuit(FLIP), aqt_circuit(shots=7))
    made = await caller.bearer("POST", "/api/v1/submit/qpu/sim-ideal", both)
    assert made.status == 200, made.body
    job = made.json["job"]["job_id"]
    await ended(engine, job)
    found = (await caller.bearer("GET", f"/api/v1/result/{job}")).json["response"]
    told = {"0": [[1, 0, 0]] * 20, "1": [[0, 0, 0]] * 7}
    assert found == {"status": "finished", "result": told}


async def test_scaleway_takes_sequences_as_pulsers_client_sends_them(
    engine: QuantumEngine, caller: Caller
) -> None:
    """The calls of pulser-scaleway 0.1.10: a session holds the model, jobs have runs alone."""

    async def call(method: str, path: str, body: Any = None, status: int = 200) -> Any:
        headers = {"X-Auth-Token": caller.token}
        answer = await caller(method, f"/scaleway/qaas/v1alpha1/{path}", body, headers)
        assert answer.status == status, answer.body
        return answer.json if answer.body else None

    (platform,) = (await call("GET", "platforms?provider_name=pasqal"))["platforms"]
    device = deserialize_device(json.loads(platform["metadata"])["specs"])
    assert (platform["name"], platform["type"]) == ("QPU-FRESNEL-100PQ", "qpu")
    sequence = Sequence(Register.from_coordinates([(0, 0), (0, 30)], prefix="q"), device)
    sequence.declare_channel("all", "rydberg_global")
    sequence.add(Pulse.ConstantPulse(500, 2 * math.pi, 0, 0), "all")
    sequence.measure("ground-rydberg")
    held = {"sequence": sequence.to_abstract_repr(), "backend_configuration": None}
    made = await call("POST", "models", {"project_id": "p", "payload": json.dumps(held)})
    asked = {"platform_id": platform["id"], "max_duration": "12h", "max_idle_duration": "10m"}
    session = await call("POST", "sessions", asked | {"model_id": made["id"], "name": "qs"})
    job = {"session_id": session["id"], "name": "qj", "parameters": json.dumps({"runs": 60})}
    job_id = (await call("POST", "jobs", job))["id"]
    await ended(engine, job_id)
    assert (await call("GET", f"sessions/{session['id']}"))["model_id"] == made["id"]
    (found,) = (await call("GET", f"jobs/{job_id}/results"))["job_results"]
    counter = json.loads(found["result"])["counter"]
    assert sum(counter.values()) == 60
    assert counter["11"] > 36, "half a turn of atoms that are far from each other"
    address = (await call("GET", f"models/{made['id']}"))["url"].partition("/scaleway")[2]
    fetched = await caller("GET", f"/scaleway{address}", None, {})
    assert fetched.json == held
    assert (await caller("GET", f"/scaleway{address}x", None, {})).status == 401
    wrong = job | {"parameters": json.dumps({"shots": 3})}
    assert "malformed" in (await call("POST", "jobs", wrong, 400))["message"]


async def test_scaleway_takes_experiments_as_percevals_client_sends_them(
    engine: QuantumEngine, caller: Caller
) -> None:
    """The calls of Perceval 1.3.1: an experiment in the job, its results as Perceval's text."""

    async def call(method: str, path: str, body: Any = None, status: int = 200) -> Any:
        headers = {"X-Auth-Token": caller.token}
        answer = await caller(method, f"/scaleway/qaas/v1alpha1/{path}", body, headers)
        assert answer.status == status, answer.body
        return answer.json if answer.body else None

    query = "platforms?providerName=quandela&name=QPU-BELENOS-12PQ"
    (platform,) = (await call("GET", query))["platforms"]
    specs = json.loads(platform["metadata"])
    assert {"probs", "sample_count"} <= set(specs["available_commands"])
    assert platform["technology"] == "photonic"
    asked = {"platform_id": platform["id"], "deduplication_id": None, "max_duration": "1200s"}
    session = (await call("POST", "sessions", asked))["id"]
    angle = {"circuit_params": {"theta": math.pi / 2}}
    payload = {"command": "sample_count", "experiment": HOM, "max_shots": 50, "iterator": [angle]}
    job = {"name": "dip", "session_id": session, "project_id": "p"}
    made = await call("POST", "jobs", job | {"circuit": {"percevalCircuit": json.dumps(payload)}})
    await ended(engine, made["id"])
    (found,) = (await call("GET", f"jobs/{made['id']}/results"))["job_results"]
    (told,) = json.loads(found["result"])["results_list"]
    text = told["results"]
    assert told["iteration"] == angle
    assert text.startswith(":PCVL:BSCount:{")
    assert sum(int(n) for n in re.findall(r"=(\d+)", text)) == 50
    for circuit, said in (({"percevalCircuit": "{"}, "no experiment"), ({}, "names a model")):
        refused = await call("POST", "jobs", job | {"circuit": circuit}, 400)
        assert said in refused["message"]


async def test_scaleways_model_session_and_job(engine: QuantumEngine, caller: Caller) -> None:
    async def call(method: str, path: str, body: Any = None, status: int = 200) -> Any:
        headers = {"X-Auth-Token": caller.token}
        answer = await caller(method, f"/scaleway/qaas/v1alpha1/{path}", body, headers)
        assert answer.status == status, answer.body
        return answer.json if answer.body else None

    platforms = (await call("GET", "platforms?name=EMU-SKERRY"))["platforms"]
    assert [each["type"] for each in platforms] == ["simulator"]
    program = (await call("POST", "models", model(packed(FIRST_OF_THREE))))["id"]
    asked = {"platform_id": platforms[0]["id"], "max_duration": "60s", "deduplication_id": "d"}
    session = (await call("POST", "sessions", asked))["id"]
    assert (await call("POST", "sessions", asked))["id"] == session
    shots = json.dumps({"shots": 20, "options": {"memory": True}})
    job = {"session_id": session, "model_id": program, "parameters": shots}
    made = (await call("POST", "jobs", job))["id"]
    await ended(engine, made)
    assert (await call("GET", f"jobs/{made}"))["status"] == "completed"
    told = json.loads((await call("GET", f"jobs/{made}/results"))["job_results"][0]["result"])
    experiment = json.loads(told["serialization"])["results"][0]
    assert experiment["data"] == {"counts": {"0x1": 20}, "memory": ["0x1"] * 20}
    assert (await call("GET", f"sessions/{session}"))["finished_job_count"] == 1

    kept = len(await engine.desk.jobs())
    bomb = packed(" " * (5 << 20))
    for body, said in (
        (model(bomb), "at most 4 MiB"),
        (model(packed(FIRST_OF_THREE)[:40]), "packed"),
        (model("!!"), "zlib"),
        (model(FIRST_OF_THREE, 7, 1), "Pulser"),
        (model(FIRST_OF_THREE, 3, 9), "compression"),
        (model(FIRST_OF_THREE, 3, 1, noise_model={"a": 1}), "noise"),
        ({"payload": "{"}, "no computation model"),
        ({"payload": 7}, "a text"),
    ):
        refused = await call("POST", "models", body, 400)
        assert set(refused) == {"type", "message"}
        assert said in refused["message"], refused
    odd = (await call("POST", "models", model(ODD, 3, 1)))["id"]
    for changed, said in (
        ({"model_id": odd}, "frobnicate"),
        ({"parameters": json.dumps({"shots": -1})}, "shots"),
        ({"parameters": "{"}, "malformed"),
        ({"model_id": None}, "names a model"),
    ):
        refused = await call("POST", "jobs", job | changed, 400)
        assert said in refused["message"], refused
    await call("POST", "jobs", job | {"model_id": "none"}, 404)
    await call("POST", "sessions", asked | {"max_duration": "soon", "deduplication_id": ""}, 400)
    await call("POST", f"sessions/{session}/terminate")
    assert (await call("POST", "jobs", job, 409))["type"] == "precondition_failed"
    assert len(await engine.desk.jobs()) == kept


def braket_refusals() -> list[tuple[Any, str]]:
    wide = "OPENQASM 3.0; qubit[25] q; bit[25] b; h q; b = measure q;"
    kind = json.dumps({"braketSchemaHeader": {"name": "braket.ir.jaqcd.program"}})
    return [
        (b"{", "not JSON"),
        ([1], "not a JSON object"),
        ({}, "action"),
        (braket_task(wide), "25 qubits"),
        (braket_task(ODD), "frobnicate"),
        (braket_task(7), "source"),
        (braket_task(FIRST_OF_THREE, shots=-1), "shots"),
        (braket_task(FIRST_OF_THREE, shots=0), "0 shots"),
        (braket_task(FIRST_OF_THREE, shots=20_001), "20000"),
        (braket_task(FIRST_OF_THREE, shots="many"), "shots"),
        (braket_task(FIRST_OF_THREE, action="{"), "no JSON"),
        (braket_task(FIRST_OF_THREE, action=kind), "jaqcd"),
        (braket_task(FIRST_OF_THREE, outputS3Bucket="../x"), "outputS3Bucket"),
        (braket_task(FIRST_OF_THREE, deviceArn=f"{GARNET}x"), "no device"),
        (braket_task("OPENQASM 3.0; qubit q;\n#pragma braket result state_vector\n"), "state_vec"),
        (braket_task(f"{FIRST_OF_THREE}\n#pragma braket result expectation x(q[0])"), "not both"),
    ]


IQM_REFUSALS: list[tuple[Any, str]] = [
    (b"\xff", "not JSON"),
    ({"circuits": []}, "length"),
    (iqm_job(prx("QB1")), "measures nothing"),
    (iqm_job(read("QB1"), shots=-1), "shots"),
    (iqm_job(read("QB1"), shots=20_001), "20000"),
    (iqm_job(prx("QB99"), read("QB99")), "99"),
    (iqm_job(prx("alice"), read("alice")), "alice"),
    (iqm_job({"name": "frob", "locus": ["QB1"]}, read("QB1")), "frob"),
    (iqm_job({"name": "cz", "locus": ["QB1", "QB20"]}, read("QB1")), "cannot interact"),
    (iqm_job(prx("QB1", float("1e400")), read("QB1")), "number"),
    (iqm_job(read("QB1"), read("QB1")), "key of its own"),
    ({"circuits": ["; QIR"], "shots": 1}, "QIR"),
    (iqm_job(read("QB1")) | {"heralding_mode": "zeros"}, "heralding"),
]
AQT_REFUSALS: list[tuple[Any, str]] = [
    (b"[", "not JSON"),
    (aqt_job(), "length"),
    (aqt_job(aqt_circuit(FLIP, shots=-1)), "repetitions"),
    (aqt_job(aqt_circuit(FLIP, shots=2001)), "repetitions"),
    (aqt_job(aqt_circuit(FLIP, qubits=13)), "13 qubits"),
    (aqt_job(aqt_circuit({"operation": "FROB", "qubit": 0})), "FROB"),
    (aqt_job(aqt_circuit(FLIP | {"theta": 1.5})), "theta"),
    (aqt_job(aqt_circuit(FLIP | {"qubit": 7})), "qubit"),
    (aqt_job(aqt_circuit({"operation": "MEASURE"}, FLIP)), "MEASURE"),
]


async def test_bad_input_is_refused_in_the_vendors_shape_and_nothing_is_queued(
    engine: QuantumEngine, caller: Caller
) -> None:
    for body, said in braket_refusals():
        answer = await caller.aws("POST", "/quantum-task", body)
        assert answer.status == 400, (said, answer.body)
        assert answer.headers["x-amzn-errortype"] == "ValidationException"
        assert said in answer.json["message"], answer.body
    for body, said in IQM_REFUSALS:
        answer = await caller.bearer("POST", "/api/v1/jobs/garnet/circuit", body)
        assert answer.status in (400, 501), (said, answer.body)
        assert set(answer.json) == {"message", "error_code", "source"}
        assert said in answer.json["message"], answer.body
    for body, said in AQT_REFUSALS:
        answer = await caller.bearer("POST", "/aqt/v1/submit/qpu/aqt-ibex-q1", body)
        assert answer.status == 422, (said, answer.body)
        assert said in answer.json["detail"], answer.body
    assert await engine.desk.jobs() == []


async def test_strangers_are_refused_in_the_vendors_shape(caller: Caller) -> None:
    wrong = f"{caller.token[:-2]}xx"
    answers: list[tuple[Answer, int, str]] = [
        (await caller.aws("GET", "/device/x", secret="wrong"), 403, "UnrecognizedClient"),
        (await caller.aws("GET", "/b/k", service="s3", secret="wrong"), 403, "SignatureDoesNot"),
        (await caller.aws("GET", "/b/k", service="sqs"), 400, "sqs"),
        (await caller("POST", "/braket/quantum-task", {}), 403, "UnrecognizedClient"),
        (await caller.bearer("GET", "/api/v1/quantum-computers", token=wrong), 401, "message"),
        (await caller.bearer("GET", "/aqt/v1/workspaces", token=wrong), 401, "detail"),
        (await caller("GET", "/iqm/api/v1/quantum-computers"), 401, "message"),
        (await caller("GET", "/scaleway/qaas/v1alpha1/jobs"), 401, "denied_authentication"),
        (await caller.bearer("GET", "/iqm/nothing"), 404, "message"),
        (await caller.bearer("GET", "/aqt/nothing"), 404, "detail"),
        (await caller.bearer("GET", "/nothing"), 404, "title"),
    ]
    for answer, status, said in answers:
        assert answer.status == status, (said, answer.body)
        assert said in str(answer.headers) + answer.body.decode(), answer.body
    prices = await caller("GET", "/braket/prices.csv")
    assert prices.status == 200
    assert prices.body.count(b"Quantum Task,") >= 5


def test_the_resource_is_found_in_whatever_header_a_client_sends() -> None:
    def head(**headers: bytes) -> Head:
        named = tuple((k.replace("_", "-").encode(), v) for k, v in headers.items())
        return Head(b"GET", b"/x", b"", named)

    token = b"skt_00000000deadbeef_abc"
    signed = b"AWS4-HMAC-SHA256 Credential=SKQP00000000DEADBEEF/20260101/eu-north-1/braket/aws4"
    for found in (
        head(authorization=b"Bearer " + token),
        head(authorization=b"apiKey " + token),
        head(x_auth_token=token),
        head(authorization=signed),
    ):
        assert claim.claim(found) == "00000000deadbeef"
    for missing in (
        head(),
        head(authorization=b"Bearer skt_1_abc"),
        head(authorization=signed.replace(b"SKQP", b"SKRY")),
        head(authorization=b"\xff" * 100),
    ):
        assert claim.claim(missing) is None


async def test_a_task_of_braket_runs_in_the_reservation_that_it_names(
    engine: QuantumEngine, caller: Caller
) -> None:
    made = await engine.desk.calendar.reserve("iqm-garnet", seconds=60)
    number = names.account(engine.context.id)

    def associated(given: str, device: str = GARNET) -> dict[str, Any]:
        arn = f"arn:aws:braket:eu-north-1:{number}:reservation/{given}"
        found = [{"arn": arn, "type": "RESERVATION_TIME_WINDOW_ARN"}]
        return braket_task(FIRST_OF_THREE, deviceArn=device, associations=found, clientToken=given)

    for body, why in (
        (associated("none"), "Reservation arn is invalid."),
        (associated(made.id, GARNET.replace("Garnet", "Emerald")), "Reservation arn is invalid."),
        (associated(made.id, SV1), "Braket Direct is not supported for"),
    ):
        answer = await caller.aws("POST", "/quantum-task", body)
        assert answer.status == 400
        assert answer.json["message"].startswith(why)
    answer = await caller.aws("POST", "/quantum-task", associated(made.id))
    assert answer.status == 201
    (job,) = await engine.desk.jobs((), 10)
    assert job.request.reservation == made.id
    path = f"/quantum-task/{quote(answer.json['quantumTaskArn'], safe='')}"
    shown = await caller.aws("GET", path)
    assert shown.json["associations"][0]["arn"].endswith(made.id)
