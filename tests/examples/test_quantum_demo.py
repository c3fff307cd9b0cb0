"""The quantum demo on a real node: twins are worse than the perfect machine, as they should be."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from skerry.app import kinds, services
from skerry.kinds._shared.http.request import request
from skerry.node.node import Node
from skerry.testing.nodes import deploy, running_node

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "quantum_demo"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Node]:
    files = {
        path.relative_to(EXAMPLE).as_posix(): path.read_text()
        for path in EXAMPLE.rglob("*")
        if path.is_file() and path.suffix in (".py", ".toml")
    }
    async with running_node(kinds(), services=services()) as node:
        await deploy(node, files)
        yield node


async def seen(url: str) -> str:
    """Return a page once its jobs are done, as a browser that is told to look again does."""
    page = (await asyncio.to_thread(request, url)).body.decode()
    while "It runs" in page:
        assert "http-equiv='refresh'" in page
        await asyncio.sleep(0.2)
        page = (await asyncio.to_thread(request, url)).body.decode()
    return page


async def test_the_twins_are_worse_than_the_perfect_machine(node: Node) -> None:
    url = f"http://quantum-demo.localhost:{node.http_port}/?format=json"
    answer = await asyncio.to_thread(request, url)
    assert answer.status == 200, answer.body
    found = json.loads(answer.body)
    assert set(found) == {"sim-ideal", "ionq-forte-enterprise-1", "iqm-garnet"}
    good = {
        device: [
            sum(counts.get(digit * len(next(iter(counts))), 0) for digit in "01")
            for counts in each["counts"]
        ]
        for device, each in found.items()
    }
    assert good["sim-ideal"] == [1000, 1000]
    for device in ("ionq-forte-enterprise-1", "iqm-garnet"):
        assert 700 < good[device][1] < good[device][0] < 1000
        assert "twin" in found[device]["nature"]
    assert found["iqm-garnet"]["cost"] == "2.84 EUR"


async def test_the_page_is_for_people(node: Node) -> None:
    url = f"http://quantum-demo.localhost:{node.http_port}/"
    page = (await asyncio.to_thread(request, url)).body.decode()
    assert page.count("<table class='bars'>") == 6
    assert "not the machines\nthemselves" in page
    assert "--provider braket" in page


async def test_a_page_tells_that_its_jobs_run_and_then_what_they_found(node: Node) -> None:
    url = f"http://quantum-demo.localhost:{node.http_port}/?again=2"
    page = await seen(url)
    assert "of the runs agree" in page
    assert "?again=3" in page
    first = json.loads((await asyncio.to_thread(request, f"{url}&format=json")).body)
    assert first == json.loads((await asyncio.to_thread(request, f"{url}&format=json")).body)
    assert (await asyncio.to_thread(request, f"{url}x")).status == 400


async def test_the_files_are_the_circuits_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    qasm3 = pytest.importorskip("qiskit.qasm3")
    monkeypatch.syspath_prepend(str(EXAMPLE))
    circuits = importlib.import_module("demo.circuits")
    written = [f"{qasm3.dumps(each)}\n" for each in circuits.PROGRAMS.values()]
    assert written == [(EXAMPLE / f"{name}.qasm").read_text() for name in ("bell", "ghz")]


async def test_two_photons_leave_together(node: Node) -> None:
    url = f"http://quantum-demo.localhost:{node.http_port}/photons"
    answer = await asyncio.to_thread(request, f"{url}?format=json")
    assert answer.status == 200, answer.body
    found = json.loads(answer.body)
    assert found["visibility"] == pytest.approx(0.92, abs=0.03), "4000 shots, five deviations"
    assert found["both"][0] == pytest.approx(0.5, abs=0.05)
    assert "not the hardware" in found["nature"]
    page = (await asyncio.to_thread(request, url)).body.decode()
    assert page.count("<circle") == len(found["delays"]) == 17


async def test_atoms_order_themselves(node: Node) -> None:
    url = f"http://quantum-demo.localhost:{node.http_port}/atoms"
    page = await seen(url)
    excited = [int(each) for each in re.findall(r"text-anchor='middle'>(\d+)%<", page)]
    assert page.count("<circle") == len(excited) == 5
    assert min(excited[::2]) > 75
    assert max(excited[1::2]) < 25
    ordered = re.search(r"In <strong>(\d+)%</strong> of the runs", page)
    assert ordered is not None
    assert int(ordered[1]) > 50
    assert "not the machine itself" in page


async def test_what_is_no_page(node: Node) -> None:
    url = f"http://quantum-demo.localhost:{node.http_port}/other"
    assert (await asyncio.to_thread(request, url)).status == 404
