"""The catalogue: every figure has a date and a source, and vendors' files are read."""

from __future__ import annotations

import datetime
import json
from typing import Any

import msgspec
import pytest

from skerry.kernel.errors import DENIED, INVALID, NOT_FOUND, SkerryError
from skerry.kinds.quantum import checks, drawing, pictures, pricing, twins
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.catalogue.importing import read
from skerry.kinds.quantum.catalogue.model import Device, Modality
from skerry.kinds.quantum.contract import Budget
from skerry.kinds.quantum.manifest import MANIFEST
from skerry.kinds.quantum.service import SERVICE

DEVICES = list(load.devices().values())
RATES = pricing.Rates("1.10", "2026-11-01")
GHZ_20 = pricing.Use(tasks=1, shots=1000, one_qubit_gates=1, two_qubit_gates=19, measurements=20)


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.id)
def test_every_figure_and_price_has_a_dated_source(device: Device) -> None:
    for key in [*(f.source for f in device.figures), *(p.source for p in device.prices)]:
        source = device.sources[key]
        assert source.title
        assert datetime.date.fromisoformat(source.as_of)
    assert datetime.date.fromisoformat(device.as_of)
    assert device.country
    assert device.place
    calibration = load.calibration(device.id)
    if calibration is not None:
        assert calibration.device == device.id
        assert len(calibration.qubits) == device.qubits
        assert len(calibration.pairs) == device.topology.edges
        assert datetime.date.fromisoformat(calibration.taken_at)
        assert set(calibration.at) == set(calibration.qubits)


def test_every_modality_and_vendor_is_there() -> None:
    assert {each.modality for each in DEVICES} == set(Modality)
    vendors = " ".join(each.vendor for each in DEVICES)
    for name in (
        "IQM", "Rigetti", "IBM", "Google", "Oxford Quantum Circuits", "IonQ", "Quantinuum",
        "Alpine Quantum Technologies", "QuEra", "Pasqal", "Atom Computing", "Quandela",
        "PsiQuantum", "Microsoft",
    ):  # fmt: skip
        assert name in vendors
    assert {each.status for each in DEVICES if each.vendor == "Microsoft"} == {"announced"}


def test_devices_are_found_by_their_vendors_names() -> None:
    assert load.find("arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet").id == "iqm-garnet"
    assert load.find("ibm_boston").id == "ibm-boston"
    with pytest.raises(SkerryError) as refused:
        load.find("iqm-garnett")
    assert refused.value.problem is NOT_FOUND
    assert "iqm-garnet" in refused.value.why


def test_conflicts_between_sources_are_kept() -> None:
    found = list(load.find("quantinuum-h2-1").conflicts())
    assert ("qubits", 56, 20) in [(one.name, one.value, other.value) for one, other in found]


def test_the_place_is_the_machines_and_not_the_regions() -> None:
    forte = load.find("ionq-forte-enterprise-1")
    assert "us-east-1" in forte.aliases[0]
    assert forte.country == "CH"
    with pytest.raises(SkerryError) as refused:
        checks.place(load.find("ibm-boston"), ("EU",), "This app")
    assert refused.value.problem is DENIED
    assert "iqm-garnet" in refused.value.why
    assert "ibm-boston" not in refused.value.why
    checks.place(load.find("iqm-emerald"), ("eu",), "This app")


@pytest.mark.parametrize(
    ("device", "currency", "cost"),
    [
        ("rigetti-cepheus-1-108q", "USD", 725_000),
        ("iqm-garnet", "EUR", 1_420_000),
        ("ionq-forte-enterprise-1", "USD", 80_300_000),
        ("aqt-ibex-q1", "EUR", 21_300_000),
        ("pasqal-fresnel", "EUR", 3_300_000_000),
        ("quera-aquila", "USD", 10_300_000),
    ],
)
def test_prices_of_a_known_circuit(device: str, currency: str, cost: int) -> None:
    """A GHZ state of 20 qubits in 1000 shots, computed by hand from the price lists."""
    assert pricing.cost(load.find(device), GHZ_20, currency, RATES).hardware == cost


def test_minimums_credits_and_ceilings() -> None:
    forte = load.find("ionq-forte-1")
    few = pricing.Use(1, 10, 1, 1, 2)
    assert pricing.cost(forte, few, "USD", RATES).hardware == 25_790_000
    assert pricing.hqc(GHZ_20) == pricing.amount("63.2")
    h2 = load.find("quantinuum-h2-1")
    unknown = pricing.cost(h2, GHZ_20, "EUR", RATES)
    assert unknown.hardware is None
    assert "63.2" in unknown.lines[0]
    for device, ceiling in ((h2, "1000"), (load.find("iqm-garnet"), "1.41")):
        found = pricing.cost(device, GHZ_20, "EUR", RATES)
        with pytest.raises(SkerryError) as refused:
            pricing.enforce(found, Budget(ceiling), device)
        assert refused.value.problem is DENIED
    for text in ("-1", "x", "nan", "1e99"):
        with pytest.raises(SkerryError):
            pricing.amount(text)


def braket_file() -> dict[str, Any]:
    """Make a capability file in Braket's shape, of a machine that nobody built."""

    def qubit(error: float) -> dict[str, Any]:
        fidelity = [
            {"fidelityType": {"name": "SIMULTANEOUS_RANDOMIZED_BENCHMARKING"}, "fidelity": error},
            {"fidelityType": {"name": "READOUT_ERROR_0_TO_1"}, "fidelity": 0.01},
            {"fidelityType": {"name": "READOUT_ERROR_1_TO_0"}, "fidelity": 0.02},
        ]
        times = {"T1": {"value": 40, "unit": "us"}, "T2": {"value": 8e-6, "unit": "S"}}
        return {**times, "oneQubitFidelity": fidelity}

    def pair(fidelity: float) -> dict[str, Any]:
        return {"twoQubitGateFidelity": [{"gateName": "CZ", "fidelity": fidelity}]}

    return {
        "service": {"updatedAt": "2027-01-02T03:04:05+00:00"},
        "paradigm": {
            "qubitCount": 3,
            "connectivity": {"connectivityGraph": {"1": ["2"], "2": ["3"]}},
        },
        "standardized": {
            "braketSchemaHeader": {"version": "1"},
            "oneQubitProperties": {"1": qubit(0.999), "2": qubit(0.998), "3": qubit(0.0)},
            "twoQubitProperties": {"1-2": pair(0.99), "2-3": pair(0.5)},
        },
    }


def test_a_braket_file_is_read_even_if_it_is_json_inside_of_json() -> None:
    text = json.dumps(braket_file())
    for data in (text, json.dumps(text)):
        found = read(data.encode(), "iqm-garnet")
        assert found.taken_at == "2027-01-02"
        assert found.qubits["1"].gate_error == pytest.approx(0.001)
        assert found.qubits["1"].t1 == pytest.approx(40e-6)
        assert found.qubits["1"].read_1_as_0 == 0.02
        assert found.qubits["3"].gate_error is None
        assert found.pairs == {"1-2": pytest.approx(0.01), "2-3": None}
        shape = twins.for_worker(load.find("iqm-garnet"), found)
        assert shape is not None
        assert shape["one"]["3"]["error"] == pytest.approx(0.0015)


def test_ibms_properties_are_read() -> None:
    properties = {
        "backend_name": "ibm_test",
        "last_update_date": "2027-01-02T00:00:00Z",
        "qubits": [
            [
                {"name": "T1", "unit": "us", "value": 200},
                {"name": "prob_meas1_prep0", "unit": "", "value": 0.01},
                {"name": "prob_meas0_prep1", "unit": "", "value": 0.03},
                {"name": "readout_length", "unit": "ns", "value": 1000},
            ]
        ]
        * 2,
        "gates": [
            {
                "gate": name,
                "qubits": qubits,
                "parameters": [
                    {"name": "gate_error", "unit": "", "value": error},
                    {"name": "gate_length", "unit": "ns", "value": length},
                ],
            }
            for name, qubits, error, length in (
                ("sx", [0], 2e-4, 32), ("sx", [1], 3e-4, 32), ("cz", [1, 0], 1.0, 68),
            )
        ],
    }  # fmt: skip
    found = read(json.dumps(properties).encode(), "ibm-boston")
    assert found.qubits["0"].gate_error == 2e-4
    assert found.qubits["1"].read_1_as_0 == 0.03
    assert found.pairs == {"0-1": None}
    assert found.two_qubit_seconds == pytest.approx(68e-9)


def test_a_calibration_of_ours_is_read_back() -> None:
    calibration = load.calibration("iqm-garnet")
    assert read(msgspec.json.encode(calibration), "iqm-garnet") == calibration
    with pytest.raises(SkerryError, match="not of"):
        read(msgspec.json.encode(calibration), "iqm-emerald")


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'"x"', b"\xff", b'{"paradigm": 1}', b'{"gates": 1, "qubits": 2}']
)
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(SkerryError) as refused:
        read(data, "iqm-garnet")
    assert refused.value.problem is INVALID


def test_devices_are_drawn() -> None:
    for device in DEVICES:
        calibration = load.calibration(device.id)
        svg = pictures.topology(device, calibration)
        assert svg.startswith("<svg") == (calibration is not None or device.topology.kind == "all")
        if calibration is not None:
            text = drawing.topology(calibration, 80)
            assert text.count("\n") > 4
            assert all(f">{label.replace('_', '.')}<" in svg for label in calibration.qubits)
    garnet = load.calibration("iqm-garnet")
    assert garnet is not None
    wide = drawing.topology(garnet, 100)
    assert "0.41" in wide
    assert max(map(len, wide.splitlines())) <= 100


def test_histograms_are_drawn() -> None:
    text = drawing.histogram({"00": 3, "11": 1}, 60)
    assert text.splitlines()[0].startswith("00 ")
    assert "75.0%" in text
    many = drawing.histogram({f"{n:08b}": 1 for n in range(200)}, 60)
    assert "more outcomes in 176 shots" in many
    assert drawing.histogram({}, 60) == "no shots"


def test_words_of_the_kind_and_commands_of_the_service_have_different_names() -> None:
    words = {f"quantum.{each.name}" for each in MANIFEST.words}
    assert not words & {each.name for each in SERVICE.commands}
