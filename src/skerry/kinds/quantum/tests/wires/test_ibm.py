"""IBM's API: driven by qiskit-ibm-runtime itself, and by what no client would send."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import math
import pickle
import struct
import zlib
from typing import Any

import pytest
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import Parameter
from qiskit.circuit.library import efficient_su2

from skerry.kinds._shared.http.request import request
from skerry.kinds.quantum.tests.wires.conftest import Place
from skerry.kinds.quantum.worker.ir import UnsupportedError
from skerry.kinds.quantum.worker.primitives import primitives
from skerry.kinds.quantum.worker.qpy import circuit_of, load, unpacked


@pytest.mark.timeout(120)
async def test_the_official_client(place: Place) -> None:
    base, token = place.fields["base"], place.fields["token"]
    environment = {"IAM_URL": f"{base}/ibm", "QISKIT_FUNCTIONS_EXPERIMENTAL": "1"}
    found = await place.drive("drive_ibm.py", environment, base, token)
    assert {"ibm_torino", "ibm_aachen", "sim_ideal"} <= set(found["backends"])
    assert (found["qubits"], found["inputs"]) == (133, 133)
    assert found["gates"] == ["cz", "delay", "if_else", "measure", "reset", "rz", "sx", "x"]
    assert found["t1"] == pytest.approx(1e-4, rel=3)
    good = found["counts"].get("00", 0) + found["counts"].get("11", 0)
    assert sum(found["counts"].values()) == 2000
    assert good > 1700
    assert found["shots"] == [2000, 50]
    assert found["nature"].startswith("twin of IBM Torino")
    assert (found["status"], found["executor"]) == ("DONE", 100)
    assert found["usage"] > 0
    assert sum(count for bits, count in found["teleported"].items() if bits == "0") > 850
    assert found["teleported ideally"] == {"0": 200}
    assert found["repeated"] == {"1": 50}
    assert "did not end" in found["endless"]
    for row, wanted in zip(found["evs"], ([1, 1, 1], [3, 2.5, 1]), strict=True):
        assert row == pytest.approx(wanted, abs=0.25)
    assert all(0 < each < 0.05 for row in found["stds"] for each in row)
    assert "pec_mitigation" in found["cancellation"]
    against_noise(found)
    assert found["session"] == [True, "dedicated", "Closed"]
    assert "closed" in found["late"]
    assert found["batch"] == [10, 10]
    assert set(found["ideal"]) == {"00", "11"}
    assert found["listed"]
    assert found["tagged"]
    assert found["cancel"] == "RuntimeInvalidStateError"


def against_noise(found: dict[str, Any]) -> None:
    """Check what the client was told with twirling and mitigation.

    The bias without is 0.43; the error of a mean is at most 0.05, so that a comparison fails by
    chance in fewer than one of a million runs.
    """
    ideal = [1 + math.sin(angle) / 2 for angle in (0.3, 1.2)]
    for place, wanted in enumerate(ideal):
        without, mitigated = found["level 0"][0][place], found["level 2"][0][place]
        assert abs(mitigated - wanted) < abs(without - wanted)
        assert abs(found["by the client"][place] - wanted) < abs(without - wanted)
        assert found["level 2"][1][place] == pytest.approx(2 * mitigated)
    assert found["extrapolated"] == [2, 2, 2, 4]
    assert found["done"][0] == [1, 3, 5]
    assert found["done"][1]["num_randomizations"] == 4
    for name in ("twirled", "twirled by the client", "decoupled"):
        assert sum(found[name].values()) == 400
        assert found[name].get("00", 0) + found[name].get("11", 0) > 250


def packed(data: bytes) -> dict[str, str]:
    value = base64.b64encode(zlib.compress(data)).decode()
    return {"__type__": "QuantumCircuit", "__value__": value}


def written(circuit: QuantumCircuit, version: int = 17) -> bytes:
    file = io.BytesIO()
    qpy.dump(circuit, file, version=version)
    return file.getvalue()


def simple() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    return circuit


def asked(circuit: Any, **params: Any) -> dict[str, Any]:
    inner = {"pubs": [[circuit, [], 10]], "version": 2, **params}
    return {"program_id": "sampler", "backend": "sim_ideal", "params": inner}


def with_version(data: bytes, version: int) -> bytes:
    return data[:6] + bytes([version]) + data[7:]


HEADER = struct.Struct("!6sBBBBQc")
BOMB = {"__type__": "QuantumCircuit"}
BOMB["__value__"] = base64.b64encode(zlib.compress(bytes(64 << 20))).decode()

REFUSED = {
    "an old version": (packed(with_version(written(simple()), 12)), "version 12"),
    "a version to come": (packed(with_version(written(simple()), 99)), "version 99"),
    "symengine": (packed(HEADER.pack(b"QISKIT", 13, 2, 0, 0, 1, b"e") + b"q"), "symengine"),
    "a pickle": (packed(pickle.dumps(["x"])), "not QPY"),
    "half a circuit": (packed(written(simple())[:-20]), "cannot be read"),
    "a bomb": (BOMB, "at most 16 MiB"),
    "no base64": ({"__type__": "QuantumCircuit", "__value__": "?!"}, "broken"),
    "settings": ({"__type__": "settings", "__module__": "os", "__value__": {}}, "in QPY"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_circuit_that_is_none_is_refused(name: str) -> None:
    circuit, reason = REFUSED[name]
    params = {"program": "sampler", "labels": None, "shots": 10, "precision": 0.1}
    with pytest.raises(UnsupportedError) as caught:
        primitives({**params, **asked(circuit)})
    assert reason in f"{caught.value.what} {caught.value.why}"


def test_a_pickled_array_is_refused() -> None:
    import numpy as np

    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    angle = QuantumCircuit(1, 1)
    angle.rx(Parameter("a"), 0)
    value = {"__type__": "ndarray"}
    value["__value__"] = base64.b64encode(zlib.compress(file.getvalue())).decode()
    params = {"program": "sampler", "labels": None, "shots": 10, "precision": 0.1}
    pubs = [[packed(written(angle)), value, 10]]
    with pytest.raises(UnsupportedError, match="PUB 0 is malformed"):
        primitives({**params, "params": {"pubs": pubs}})


def test_circuits_of_the_library_are_read_with_their_parameters() -> None:
    ansatz = efficient_su2(2, reps=1)
    ansatz.measure_all()
    found = load(written(ansatz))
    values = [0.1 * number for number in range(len(found.parameters))]
    circuit = circuit_of(found, values)
    assert circuit["registers"] == [["c", 0, 2]]
    assert [op[0] for op in circuit["ops"]].count("cx") == 1
    names = {
        parameter.name: value for parameter, value in zip(found.parameters, values, strict=True)
    }
    used = [op[2][0] for op in circuit["ops"] if op[0] in ("ry", "rz")]
    assert sorted(used) == sorted(names.values())


def test_a_gate_that_borrows_a_name_means_what_it_defines() -> None:
    inner = QuantumCircuit(1, name="x")
    inner.h(0)
    circuit = QuantumCircuit(1, 1)
    circuit.append(inner.to_gate(), [0])
    circuit.measure(0, 0)
    ops = circuit_of(load(written(circuit)))["ops"]
    assert [op[0] for op in ops] == ["h", "measure"]


def test_packed_data_of_the_largest_size_is_read() -> None:
    text = base64.b64encode(zlib.compress(bytes(1000))).decode()
    assert unpacked(text, 1000) == bytes(1000)
    with pytest.raises(UnsupportedError):
        unpacked(text, 999)


async def test_bad_requests_have_the_vendors_shape_and_queue_nothing(place: Place) -> None:
    url, token = place.fields["base"], place.fields["token"]

    async def call(method: str, path: str, body: Any = None, key: str = token) -> Any:
        data = None if body is None else json.dumps(body).encode()
        head = {"Authorization": f"Bearer {key}"}
        return await asyncio.to_thread(request, f"{url}/ibm{path}", method, data, head)

    before = json.loads((await call("GET", "/jobs")).body)["count"]
    good = packed(written(simple()))
    for key, body, status in (
        ("skt_wrong", asked(good), 401),
        (f"{token[:-1]}_", asked(good), 401),
        (token, {"program_id": 3}, 400),
        (token, {**asked(good), "backend": "ibm_nowhere"}, 404),
        (token, {**asked(good), "program_id": "hello-world"}, 400),
        (token, asked(REFUSED["a bomb"][0]), 400),
        (token, asked(good, options={"execution": {"meas_type": "kerneled"}}), 400),
        (token, {**asked(good), "session_id": "none"}, 404),
    ):
        answer = await call("POST", "/jobs", body, key)
        assert answer.status == status, answer.body
        assert json.loads(answer.body)["errors"][0]["code"] == status
    assert json.loads((await call("GET", "/jobs")).body)["count"] == before
    assert (await call("GET", "/backends/ibm_torino/configuration?calibration_id=x")).status == 404
    await told_once_and_deleted(call, good)


async def told_once_and_deleted(call: Any, good: Any) -> None:
    """Send a private job: its results are told once. Deleted it is gone."""
    made = await call("POST", "/jobs", {**asked(good), "private": True})
    path = f"/jobs/{json.loads(made.body)['id']}"
    async with asyncio.timeout(60):
        while json.loads((await call("GET", path)).body)["status"] != "Completed":
            await asyncio.sleep(0.05)
    assert [(await call("GET", f"{path}/results")).status for _ in range(2)] == [200, 204]
    assert [(await call("DELETE", path)).status for _ in range(2)] == [204, 404]
    assert (await call("GET", path)).status == 404
