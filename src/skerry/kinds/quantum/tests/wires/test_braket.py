"""Amazon Braket's SDK and what stands on it, unmodified, through a node's router."""

from __future__ import annotations

from math import cos, sin
from typing import Any

import pytest

from skerry.kinds.quantum.tests.wires.conftest import Place, python_of


def check_devices(found: dict[str, Any]) -> None:
    assert (found["name"], found["provider"]) == ("Garnet", "IQM")
    assert found["available"]
    assert found["edges"] == 60
    assert found["native"] == ["prx", "cz"]
    assert found["cost"] == 0.00145
    assert "not the hardware" in found["summary"]
    assert {"Garnet", "Emerald", "Forte-Enterprise-1", "Aquila"} <= set(found["found"])


def check_asymmetric(found: dict[str, Any]) -> None:
    assert found["counts"] == {"100": 20}
    assert set(found["long"]) == {"0" * 60, "1" * 60}
    assert "matrix product states" in found["network"]
    assert found["swapped"] == [{"010": 20}, [2, 1, 0]]


def check_bell(found: dict[str, Any]) -> None:
    assert (found["state"], found["position"]) == ("COMPLETED", "None")
    assert sum(found["counts"].values()) == 500
    assert found["counts"]["00"] + found["counts"]["11"] > 430
    assert found["compiled"] == "OPENQASM 3.0;"
    assert found["tags"] == {"why": "a test"}
    assert found["cost"] == "1.02500", "0.30 a task and 0.00145 a shot"
    assert found["keys"]


def check_results_of_types(found: dict[str, Any]) -> None:
    assert found["xx"] == found["chosen"] == 1.0
    assert found["variance"] == pytest.approx(0.708, abs=0.1)
    assert found["probability"] == pytest.approx([0.770, 0.230], abs=0.05)
    assert found["sample"] == [-1.0] * 10


def check_exact(found: dict[str, Any]) -> None:
    half = 0.5**0.5
    assert found["state"] == pytest.approx([half, 0, 0, half])
    assert (found["amplitude"], found["mean"]) == pytest.approx((half, 0.5))
    assert found["variance"] == pytest.approx(0.0, abs=1e-9)
    assert found["chances"] == pytest.approx([0.5, 0.5])
    assert [round(each[0], 9) for row in found["matrix"] for each in row] == [0.2, 0, 0, 0.8]
    assert found["flipped"] == pytest.approx(-0.6)
    assert found["damped"][0] == 4000
    assert found["set"] == [{"00": 50}, {"10": 50}]
    assert found["damped"][1] == pytest.approx([0.25, 0.75], abs=0.05)
    assert found["estimate"] == pytest.approx(0.5 + 0.5 * cos(0.5) + 2 * sin(0.5), abs=0.2)
    # 3 Y - Z after a rotation by 2 t about x is -3 sin 2t - cos 2t.
    slope = [-3 * sin(0.6) - cos(0.6), -6 * cos(0.6) + 2 * sin(0.6)]
    assert found["slope"] == pytest.approx(slope)
    assert found["eigenvalues"] == pytest.approx([0.5 - 17**0.5 / 2, 0.5 + 17**0.5 / 2], abs=1e-5)
    assert "DensityMatrix" in found["offered"]


def check_program_set(found: dict[str, Any]) -> None:
    assert found["executables"] == 5
    assert found["expectations"] == pytest.approx([1, 1, 1, -1], abs=0.25)
    assert found["plain"]["10"] > 150
    assert found["cost"] == "1.75000", "one fee for all executables"


def check_verbatim(found: dict[str, Any]) -> None:
    assert found["qubits"] == [9, 4]
    assert found["counts"]["10"] > 75
    assert found["ions"] == 100
    # The first qubit is 1, so that it is turned back and the other one with it is turned on.
    assert found["fed qubits"] == [9, 4]
    assert found["fed"]["01"] > 75


def check_emulator(found: dict[str, Any]) -> None:
    assert found["garnet"]["10"] > 150
    assert found["forte"]["10"] > 150


def check_atoms(found: dict[str, Any]) -> None:
    assert (found["shots"], found["sites"]) == (50, 2)
    assert found["width"] == 7.5e-5


def check_lifecycle(found: dict[str, Any]) -> None:
    assert found["position"] == "1"
    assert found["waiting"] == {"Normal": "1", "Priority": "0"}
    assert (found["second"], found["result"]) == ("CANCELLED", True)
    assert found["again"] == "ConflictException"
    assert found["listed"]


def check_refusals(found: dict[str, Any]) -> None:
    bad = ("wide", "gate", "noise", "set", "many", "json", "kind", "zero", "conflict")
    for name in (*bad, "partial", "vector", "huge"):
        assert found[name][:2] == ["ValidationException", 400], name
    assert [each["programIndex"] for each in found["set"][2]] == [1]
    assert found["task"][:2] == ["ResourceNotFoundException", 404]
    assert found["device"][0] == "ValueError"
    assert found["read"][:2] == ["NoSuchKey", 404]
    assert found["unmake"][:2] == ["NotImplemented", 501]
    assert found["stranger"][0] == "UnrecognizedClientException"
    assert found["kept"] == 0


@pytest.mark.timeout(300)
async def test_amazons_sdk(place: Place) -> None:
    found = await place.drive("drive_braket.py", place.aws)
    checks = {
        name[len("check_") :]: check
        for name, check in globals().items()
        if name.startswith("check_")
    }
    assert set(checks) == set(found)
    for name, check in checks.items():
        check(found[name])


@pytest.mark.timeout(300)
async def test_qiskit_through_braket(place: Place) -> None:
    found = await place.drive("drive_qiskit_braket.py", place.aws)
    assert found["asymmetric"] == {"001": 40}
    assert found["qubits"] == 20
    assert found["status"] == "JobStatus.DONE"
    for counts in found["counts"]:
        assert sum(counts.values()) == 200
        assert counts["00"] + counts["11"] > 170


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_pennylane_through_braket(place: Place) -> None:
    python = python_of("clients-pennylane")
    found = await place.drive("drive_pennylane.py", place.aws, python=python)
    assert found["asymmetric"] == {"100": 2000}
    assert found["product"] == 1.0
    assert found["value"] == pytest.approx(0.8776, abs=0.15)
    assert found["gradient"] == pytest.approx(-0.4794, abs=0.15)
