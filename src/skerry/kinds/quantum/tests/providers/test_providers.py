"""What each provider sends to its vendor, and how it reads what comes back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import DENIED, UNSUPPORTED, SkerryError
from skerry.kinds.quantum import providers
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.contract import JobState
from skerry.kinds.quantum.providers import aqt, ibm, scaleway
from skerry.kinds.quantum.providers.interface import Charge, Provider, Setting, Task
from skerry.kinds.quantum.tests.providers import vendors
from skerry.kinds.quantum.tests.providers.conftest import CIRCUIT, SECRETS
from skerry.kinds.quantum.worker import ir

Make = Callable[[type[vendors.Vendor]], Any]


def provider(name: str, url: str, **more: str) -> Provider:
    return providers.find(name, Setting(SystemClock(), SECRETS, {name: url, **more}))


def task(device: str, source: str = "", **more: Any) -> Task:
    found = Task("a-b-c", "", load.find(device), 100, CIRCUIT, CIRCUIT, "OPENQASM 2.0;", source)
    return found._replace(**more)


RIGETTI = CIRCUIT | {
    "labels": ["7", "3"],
    "ops": [
        ["rx", [0], [math.pi]],
        ["cz", [0, 1], []],
        ["measure", [1], [0]],
        ["measure", [0], [1]],
    ],
}
PULSER = '{"operations": [], "register": []}'
AZURE: tuple[tuple[Task, Any, str, dict[str, int]], ...] = (
    (task("ionq-forte-1"), {"histogram": {"1": 0.25, "3": 0.75}}, "ionq", {"10": 25, "11": 75}),
    (task("quantinuum-h2-1"), {"c": ["01", "01", "11"]}, "quantinuum", {"10": 2, "11": 1}),
    (
        task("rigetti-cepheus-1-108q", compiled=RIGETTI),
        {"ro": [[0, 1], [0, 1]]},
        "rigetti",
        {"01": 2},
    ),
    (task("pasqal-fresnel", PULSER), {"counter": {"01": 3}}, "pasqal", {"gr": 3}),
)


async def test_azure_runs_each_makers_own_format(vendor: Make) -> None:
    azure = vendor(vendors.Azure)
    way = provider("azure", azure.url, **{"azure-login": azure.url})
    sent = []
    for number, (each, outcome, maker, counts) in enumerate(AZURE):
        azure.outcome = outcome
        asked = each._replace(token=f"job{number}")
        name = await way.send(asked)
        assert azure.jobs[name]["providerId"] == maker
        assert azure.jobs[name]["inputParams"] == {"shots": 100}
        assert "?" not in azure.jobs[name]["inputDataUri"]
        sent.append(azure.blobs[f"job-{name}/inputData"].decode())
        found = await way.look(name, asked)
        assert (found.state, found.counts) == (JobState.COMPLETED, counts)
    assert json.loads(sent[0])["gateset"] == "native"
    assert sent[1] == "OPENQASM 2.0;"
    assert "CZ 7 3\nMEASURE 3 ro[0]\nMEASURE 7 ro[1]" in sent[2]
    assert json.loads(sent[3])["sequence_builder"] == PULSER
    assert azure.seen.count("POST /tenant/oauth2/v2.0/token") == 1
    assert not any(
        "Authorization" in head
        for head, at in zip(azure.heads, azure.seen, strict=True)
        if "/store/" in at
    )
    azure.cost, azure.outcome = {"currencyCode": "USD", "estimatedTotal": 1.25}, AZURE[0][1]
    assert (await way.look("job0", AZURE[0][0])).charge == Charge("USD", 1_250_000)
    await way.cancel("job0", AZURE[0][0])
    assert (await way.look("job0", AZURE[0][0])).state is JobState.CANCELLED


async def test_pasqal_takes_sequences_of_pulser(vendor: Make) -> None:
    pasqal = vendor(vendors.Pasqal)
    way = provider("pasqal", pasqal.url, **{"pasqal-login": f"{pasqal.url}/login"})
    asked = task("pasqal-fresnel", PULSER)
    name = await way.send(asked)
    assert pasqal.jobs[name]["jobs"] == [{"runs": 100}]
    assert pasqal.jobs[name]["sequence_builder"] == PULSER
    assert await way.search(asked) == name
    assert await way.search(asked._replace(token="another")) is None
    found = await way.look(name, asked)
    assert found.counts == {"grg": 40, "rgr": 60}
    assert "Authorization" not in pasqal.heads[-1]
    await way.cancel(name, asked)
    assert (await way.look(name, asked)).state is JobState.CANCELLED
    with pytest.raises(SkerryError, match="takes sequences of Pulser"):
        way.check(task("pasqal-fresnel", "{}"))


async def test_quandela_takes_what_perceval_writes(vendor: Make) -> None:
    quandela = vendor(vendors.Quandela)
    way = provider("quandela", quandela.url)
    for source in (":PCVL:ACircuit:AAAA", '":PCVL:ACircuit:AAAA"'):
        asked = task("quandela-belenos", source)
        name = await way.send(asked)
        sent = quandela.jobs[name]
        assert sent["platform_name"] == "qpu:belenos"
        assert sent["payload"]["experiment"] == ":PCVL:ACircuit:AAAA"
        assert (await way.look(name, asked)).counts == {"2,0": 48, "0,2": 52}
    shape = {"experiment": ":PCVL:zip:AAAA", "noise": ":PCVL:NoiseModel:{}", "command": "probs"}
    name = await way.send(task("quandela-ascella", json.dumps(shape), bindings={"theta": 0.5}))
    assert quandela.jobs[name]["payload"] == {
        "experiment": ":PCVL:zip:AAAA",
        "noise": ":PCVL:NoiseModel:{}",
        "iterator": [{"circuit_params": {"theta": 0.5}}],
        "command": "sample_count",
        "max_shots": 100,
        "max_samples": 100,
    }
    await way.cancel(name, asked)
    assert (await way.look(name, asked)).state is JobState.CANCELLED
    with pytest.raises(SkerryError) as caught:
        way.check(task("quandela-belenos", '{"modes": 2}'))
    assert caught.value.problem is UNSUPPORTED


def test_ibms_plain_answer_is_read_register_by_register() -> None:
    circuit = {"bits": 3, "registers": [["a", 0, 1], ["b", 1, 2]], "ops": []}
    plain = {"a": {"samples": ["0x1", "0x0"]}, "b": {"samples": ["0x2", "0x1"]}}
    assert ibm._counts(plain, task("ibm-torino", circuit=circuit)) == {"101": 1, "010": 1}
    assert ibm._data({"results": [{"data": plain}]}) == plain


@pytest.mark.parametrize("angle", [-7.0, -2.0, -0.4, 0.0, 0.9, 1.7, 3.2, 6.0])
def test_aqts_angles_are_in_its_ranges_and_mean_the_same(angle: float) -> None:
    ops: list[ir.Op] = [["r", [0], [angle, angle / 3]], ["rxx", [0, 1], [angle]]]
    for op in ops:
        found = aqt._operations(op)
        made: ir.Matrix = [[1.0 if i == j else 0.0 for j in range(4)] for i in range(4)]
        for each in found:
            if each["operation"] == "R":
                assert 0 <= each["theta"] <= 1 and 0 <= each["phi"] <= 2
            if each["operation"] == "RXX":
                assert 0 <= each["theta"] <= 0.5
            made = ir.multiply(_two(each), made)
        wanted = ir.matrix(op[0], op[2])
        if op[0] == "r":
            wanted = _left(wanted)
        trace = sum(
            complex(wanted[j][i]).conjugate() * made[j][i] for i in range(4) for j in range(4)
        )
        assert abs(trace) == pytest.approx(4.0)


def _two(each: dict[str, Any]) -> Any:
    """Return an operation of AQT's as a matrix of two ions."""
    turn = math.pi
    if each["operation"] == "RXX":
        return ir.matrix("rxx", [each["theta"] * turn])
    if each["operation"] == "RZ":
        one = ir.matrix("rz", [each["phi"] * turn])
    else:
        one = ir.matrix("r", [each["theta"] * turn, each["phi"] * turn])
    return _left(one) if each["qubit"] == 0 else _right(one)


def _left(one: Any) -> Any:
    return [[one[i // 2][j // 2] * (i % 2 == j % 2) for j in range(4)] for i in range(4)]


def _right(one: Any) -> Any:
    return [[one[i % 2][j % 2] * (i // 2 == j // 2) for j in range(4)] for i in range(4)]


def test_every_offered_machine_has_a_way_or_none_is_claimed() -> None:
    ways: dict[str, list[str]] = {}
    for name in providers.PROVIDERS:
        way = provider(name, "http://127.0.0.1:9")
        for device in load.devices().values():
            try:
                machine = way.places(device)[-1]
            except SkerryError:
                continue
            assert machine.country == device.country
            ways.setdefault(device.id, []).append(name)
    assert ways["iqm-garnet"] == ["braket", "iqm", "scaleway"]
    assert ways["ibm-aachen"] == ["ibm"]
    assert ways["quantinuum-h2-1"] == ["azure"]
    assert ways["pasqal-fresnel"] == ["azure", "pasqal"]
    assert ways["quandela-belenos"] == ["quandela"]
    assert "google-willow" not in ways


def test_an_address_that_is_not_encrypted_gets_no_credential() -> None:
    with pytest.raises(SkerryError) as caught:
        provider("iqm", "http://127.0.0.1:9").secret("IQM_TOKEN")
    assert caught.value.problem is DENIED
    assert "hint" not in repr(Setting(SystemClock(), SECRETS))
    assert "hidden" not in repr(Setting(SystemClock(), SECRETS))


async def test_plain_http_to_another_machine_is_refused() -> None:
    way = provider("ionq", "http://vendor.example")
    with pytest.raises(SkerryError, match="not encrypted"):
        await way.look("job", task("ionq-forte-1"))


def test_a_bomb_of_a_result_is_refused() -> None:
    with pytest.raises(SkerryError, match="cannot be unpacked"):
        scaleway._unpacked("nothing")
    with pytest.raises(SkerryError, match="holds no array"):
        ibm._array("nothing")
