"""AQT's Qiskit provider, unmodified, by its direct access and by the portal."""

from __future__ import annotations

import pytest

from skerry.kinds.quantum.tests.wires.conftest import Place, python_of


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_qiskit_on_aqt(place: Place) -> None:
    python = python_of("clients-aqt")
    url = f"{place.fields['url']}/aqt/direct"
    environment = {"AQT_URL": url, "AQT_TOKEN": place.fields["token"]}
    found = await place.drive("drive_aqt.py", environment, python=python, guide="AQT")
    assert (found["name"], found["qubits"]) == ("aqt-ibex-q1-twin", 12)
    assert found["asymmetric"]["001"] > 90
    assert found["bell"]["00"] + found["bell"]["11"] > 180
    assert found["wide"][:2] == ["AQTRequestError", 422]
    assert found["token"][1] == 401


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_qiskit_on_aqts_portal(place: Place) -> None:
    python = python_of("clients-aqt-portal")
    environment = {"AQT_PORTAL_URL": place.fields["url"], "AQT_TOKEN": place.fields["token"]}
    found = await place.drive("drive_aqt_portal.py", environment, python=python)
    asymmetric, bell = found["counts"]
    assert asymmetric["001"] > 90
    assert bell["00"] + bell["11"] > 85
    assert "14 qubits" in found["refused"]
