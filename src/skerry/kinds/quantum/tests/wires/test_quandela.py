"""Perceval, unmodified."""

from __future__ import annotations

import pytest

from skerry.kinds.quantum.tests.wires.conftest import Place, python_of


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_perceval(place: Place) -> None:
    python = python_of("clients-quandela")
    environment = {
        "QUANDELA_URL": f"{place.fields['url']}/quandela",
        "QUANDELA_TOKEN": place.fields["token"],
    }
    found = await place.drive("drive_quandela.py", environment, python=python)
    assert found["apart"] < 1e-6, "Perceval's own simulator and the wire agree on every outcome"
    local, remote = found["performance"]
    assert remote == pytest.approx(local, abs=1e-6)
    assert (found["counted"], found["sampled"]) == (500, 50)
    for alike, visibility in found["dip"]:
        assert visibility == pytest.approx(alike, abs=1e-6)
    assert found["sweep"] == pytest.approx([1.0, 0.0], abs=1e-9)
    assert found["machine"] == 20
    assert found["type"] == "ProcessorType.SIMULATOR"
    assert "400" in found["payload"]
    assert "400" in found["garbage"]
    assert "404" in found["platform"]
    assert "40" in found["token"], "the node finds no resource for a token that is none: 404"
    assert "401" in found["other"]
