"""IonQ's API: driven by qiskit-ionq and cirq-ionq, and by what no client would send."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from qiskit.quantum_info import Operator, SparsePauliOp
from scipy.linalg import expm

from skerry.kernel.errors import SkerryError
from skerry.kinds._shared.http.request import request
from skerry.kinds.quantum.tests.wires.conftest import Place
from skerry.kinds.quantum.wires.ionq.circuits import circuit
from skerry.kinds.quantum.worker.compiling import to_qiskit


@pytest.mark.timeout(120)
async def test_the_official_clients(place: Place) -> None:
    parts = (place.fields[each] for each in ("base", "url", "token"))
    found = await place.drive("drive_ionq.py", {}, *parts, guide="IonQ")
    own = found["qiskit"]
    assert set(own["ideal"]) == {"000", "111"}
    assert sum(own["noisy"].values()) == 1000
    assert own["noisy"]["000"] + own["noisy"]["111"] > 900
    assert own["memory"] == 1000
    assert own["several"] == [["00", "11"], ["000", "111"]]
    assert (own["status"], own["qubits"]) == (True, 36)
    assert own["order"]["001"] > 90
    assert own["native"] == 100
    assert own["controlled"] == {"111": 50}
    assert max(own["reused"], key=own["reused"].get)[1] == "0"
    assert own["estimate"][0] == pytest.approx(25.79, abs=0.01)
    assert own["refused"] == 400
    held = own["sessions"]
    assert (held["counts"], held["closed"], held["used"]) == (100, "ended", True)
    assert held["settings"] == {"duration_limit_min": 5, "job_count_limit": 1}
    assert held["full"][0] == held["over"] == 400
    assert "takes 1 jobs" in held["full"][1]
    assert held["paid"] in ("QUEUED", "RUNNING", "DONE")
    assert held["poor"] in (400, 403), "two jobs of 25.79 dollars are above 30"
    cirqs = found["cirq"]
    assert set(cirqs["histogram"]) == {"0", "3"}
    assert cirqs["batch"] == [50, 50]
    assert cirqs["qpu"]["0"] + cirqs["qpu"]["3"] > 85
    assert cirqs["calibration"] == 36


def test_an_exponential_of_paulis_is_one() -> None:
    terms, values = ["XXI", "ZZI", "IIY"], [0.3, -0.7, 0.2]
    gate = {"gate": "pauliexp", "targets": [0, 1, 2], "terms": terms, "coefficients": values}
    found = circuit([{**gate, "time": 0.9}], 3, "qis")
    own = to_qiskit({**found, "ops": [op for op in found["ops"] if op[0] != "measure"]})
    hamiltonian = SparsePauliOp(terms, values).to_matrix()
    assert Operator(own).equiv(Operator(expm(-0.9j * hamiltonian)))


BAD: tuple[Any, ...] = (
    {"gate": "teleport", "targets": [0]},
    {"gate": "x"},
    {"gate": "rx", "targets": [0]},
    {"gate": "x", "targets": ["a"]},
    {"gate": "pauliexp", "targets": [0], "terms": ["X", "Z"], "coefficients": [1, 1], "time": 1},
    {"gate": "x", "targets": [0], "controls": [0]},
    [],
)


@pytest.mark.parametrize("gate", BAD)
def test_a_gate_that_is_none_is_refused(gate: Any) -> None:
    if gate == {"gate": "x"}:
        assert len(circuit([gate], 1, "qis")["ops"]) == 1
        return
    with pytest.raises(SkerryError, match="Gate 0"):
        circuit([gate], 2, "qis")


async def test_bad_requests_have_the_vendors_shape_and_queue_nothing(place: Place) -> None:
    url, token = place.fields["base"], place.fields["token"]

    async def post(body: Any, key: str = token) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = {"Authorization": f"apiKey {key}"}
        target = f"{url}/ionq/v0.4/jobs"
        return await asyncio.to_thread(request, target, "POST", data, head)

    async def listed() -> list[Any]:
        head = {"Authorization": f"apiKey {token}"}
        found = await asyncio.to_thread(request, f"{url}/ionq/v0.4/jobs", "GET", None, head)
        return list(json.loads(found.body)["jobs"])

    before = await listed()
    good = {"input": {"qubits": 1, "circuit": [{"gate": "h", "target": 0}]}}
    cases = (
        (good, "skt_0", 401),
        (b"{", token, 400),
        ({"input": 1}, token, 400),
        ({**good, "type": "ionq.ising.v9"}, token, 400),
        ({**good, "backend": "qpu.nowhere"}, token, 404),
        ({**good, "shots": "many"}, token, 400),
        ({**good, "settings": {"error_mitigation": {"debiasing": True}}}, token, 400),
        ({"input": {"qubits": 99_999, "circuit": []}}, token, 400),
        ({"input": {"qubits": 1, "circuit": [{"gate": "h", "target": 7}]}}, token, 400),
    )
    for body, key, status in cases:
        answer = await post(body, key)
        assert answer.status == status, answer.body
        assert json.loads(answer.body)["statusCode"] == status
    assert await listed() == before
