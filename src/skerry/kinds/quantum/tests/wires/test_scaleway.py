"""Qiskit through Scaleway's provider, unmodified."""

from __future__ import annotations

import pytest

from skerry.kinds.quantum.tests.wires.conftest import Place, python_of


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_qiskit_on_scaleway(place: Place) -> None:
    python = python_of("clients-scaleway")
    environment = {
        "QISKIT_SCALEWAY_API_URL": f"{place.fields['url']}/scaleway",
        "QISKIT_SCALEWAY_SECRET_KEY": place.fields["token"],
        "QISKIT_SCALEWAY_PROJECT_ID": "lab",
    }
    found = await place.drive("drive_scaleway.py", environment, python=python, guide="Scaleway")
    assert {"EMU-SKERRY", "QPU-GARNET-20PQ", "QPU-IBEX-12PQ"} <= set(found["backends"])
    assert found["session"], "a deduplication id finds the session again"
    assert found["asymmetric"] == {"0 01": 30}
    assert len(found["bells"]) == 2
    for counts in found["bells"]:
        assert counts["00"] + counts["11"] > 170
    assert found["memory"] == 200
    assert found["wide"].startswith("error 400")
    assert "21 qubits" in found["wide"]
    assert "no computation model" in found["payload"]
    assert found["token"].startswith("error 401")
    assert found["status"] == "stopped"
    assert "is stopped" in found["stopped"]
