"""IQM's client and Qiskit on top of it, unmodified; and its wire, spoken to by hand."""

from __future__ import annotations

import pytest

from skerry.kinds.quantum.tests.wires.conftest import Place, python_of


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_qiskit_on_iqm(place: Place) -> None:
    python = python_of("clients-iqm")
    environment = {"IQM_TOKEN": place.fields["token"], "SKERRY_URL": place.fields["url"]}
    found = await place.drive("drive_iqm.py", environment, python=python, guide="IQM")
    asymmetric, bell = found["counts"]
    assert asymmetric["001"] > 240
    assert bell["00"] + bell["11"] > 250
    assert (found["qubits"], found["architecture"]) == (20, 30)
    assert found["metrics"] > 100
    assert found["raw"][0] == ["m"]
    assert found["raw"][1]["10"] > 80, "QB1 is 1 and comes first"
    assert found["shots"][0] == "InvalidOperationError"
    assert found["machine"][0] == "ClientConfigurationError"
    assert found["job"][0] == "NotFoundError"
    assert found["token"][0] == "AuthenticationError"
