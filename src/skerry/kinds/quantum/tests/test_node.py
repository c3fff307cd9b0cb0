"""On a node: the binding of a function, the HTTP wire, the service, and `kill -9`."""

from __future__ import annotations

import asyncio
import os
import signal
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from skerry.app import kinds, make_node, services
from skerry.kernel.errors import INVALID, NOT_FOUND, SkerryError
from skerry.kinds._shared.http.message import Answer
from skerry.kinds._shared.http.request import request
from skerry.kinds.quantum import stacks
from skerry.kinds.quantum.reports import JobReport
from skerry.kinds.quantum.tests.conftest import ghz, slow
from skerry.kinds.quantum.waking import Waker
from skerry.node.dispatcher import Dispatcher
from skerry.node.node import Node, Options
from skerry.surfaces.cli.client import local
from skerry.testing.nodes import deploy, open_directory, perform

APP = "lab"
FUNCTION = '''
    PROGRAM = """{program}"""

    def fetch(request, env):
        result = env.qpu.run(PROGRAM, shots=100, device="iqm-garnet", seed=3)
        job = env.qpu.submit(PROGRAM, shots=10)
        return {{"counts": result.counts, "twin": result.provenance.nature, "job": job.id}}
'''
TOML = """
    [app]
    name = "lab"
    [functions.web]
    entry = "web"
    bindings = ["qpu"]
    [quantum.qpu]
"""


def options_in(home: Path) -> Options:
    wires = [wire for each in kinds().values() for wire in each.wires]
    ports = {wire.name: 0 for wire in wires if wire.front}
    return Options(home=home / "h", http_port=0, ports=ports, name="test", volume_driver="copy")


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    with open_directory() as home:
        made = Node(options_in(home), kinds(), lambda _: _nothing, services())
        await made.start()
        try:
            yield made
        finally:
            await made.stop()


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def serve(node: Node, *, function: bool = False) -> None:
    toml = TOML if function else '[app]\nname = "lab"\n[quantum.qpu]\n'
    files = {"skerry.toml": textwrap.dedent(toml)}
    if function:
        files["web.py"] = textwrap.dedent(FUNCTION).format(program=ghz(3))
    await deploy(node, files)


async def ask(node: Node, word: str, **params: Any) -> Any:
    """Carry out `quantum.<word>` as every surface does."""
    dispatcher = Dispatcher(node)
    command = dispatcher.commands[f"quantum.{word}"]
    shape: msgspec.Struct = msgspec.convert(params, command.params)
    return await dispatcher.perform(command, shape)


async def test_a_function_runs_a_program_and_waits_for_its_result(node: Node) -> None:
    await serve(node, function=True)
    url = node.url_of(APP, "main")
    answer = await asyncio.to_thread(request, url)
    assert answer.status == 200, answer.body
    found = msgspec.json.decode(answer.body)
    assert sum(found["counts"].values()) == 100
    assert found["counts"]["000"] + found["counts"]["111"] > 60
    assert "twin" in found["twin"]
    report = await ask(node, "job", app=APP, job=found["job"])
    assert report.job.request.shots == 10


async def test_the_wire_takes_jobs_and_refuses_strangers(node: Node) -> None:
    await serve(node)
    found = await perform(node, "resource.connect", name="qpu", app=APP, branch="main")
    token, base = found.fields["token"], f"{found.fields['url']}/quantum/v1"

    async def call(path: str, method: str = "GET", body: Any = None, key: str = token) -> Answer:
        data = body if isinstance(body, bytes | None) else msgspec.json.encode(body)
        headers = {"Authorization": f"Bearer {key}"}
        return await asyncio.to_thread(request, f"{base}{path}", method, data, headers)

    job = {"device": "iqm-garnet", "programs": [{"source": ghz(2)}], "shots": 50}
    made = await call("/jobs", "POST", job)
    assert made.status == 201, made.body
    id_ = msgspec.json.decode(made.body)["id"]
    over = await call(f"/jobs/{id_}?wait=20")
    assert msgspec.json.decode(over.body)["state"] == "COMPLETED"
    assert (await call(f"/jobs/{id_}")).body == over.body
    results = msgspec.json.decode((await call(f"/jobs/{id_}/results")).body)
    assert sum(results[0]["counts"].values()) == 50
    assert (await call(f"/jobs/{id_}/results/7")).status == 404
    assert (await call(f"/jobs/{id_}/cancel", "POST")).status == 200
    assert len(msgspec.json.decode((await call("/devices")).body)) > 40
    assert msgspec.json.decode((await call("/devices/iqm-garnet")).body)["revision"] == 2
    made = await call("/reservations", "POST", {"device": "iqm-garnet", "seconds": 60})
    assert made.status == 201, made.body
    assert msgspec.json.decode((await call("/reservations")).body) == [
        msgspec.json.decode(made.body)
    ]
    gone = f"/reservations/{msgspec.json.decode(made.body)['id']}"
    assert (await call(gone, "DELETE")).status == 200
    assert (await call(gone, "DELETE")).status == 404
    wrong = f"{token[:-3]}xxx"
    for bad, status in (
        (await call("/jobs", key=wrong), 401),
        (await call("/nothing"), 404),
        (await call("/jobs", "POST", b"{"), 400),
        (await call("/jobs", "POST", job | {"shots": -1}), 400),
        (await call("/jobs", "POST", job | {"device": "no-such"}), 404),
        (await call("/jobs/no-such"), 404),
    ):
        assert bad.status == status, bad.body
        assert b'"title"' in bad.body
    assert len(msgspec.json.decode((await call("/jobs")).body)) == 1


async def test_the_words_without_a_resource(node: Node) -> None:
    table = await ask(node, "devices")
    assert len(table.devices) > 40
    for columns in (80, 100, 132, 250):
        lines = table.draw(columns).splitlines()
        assert max(map(len, lines)) <= columns
        assert lines[0].startswith("device") and "here" in lines[0] and "as of" in lines[0]
    assert all(each.sources for each in table.devices if each.two_qubit_fidelity)
    european = await ask(node, "devices", **{"in": ["EU"], "modality": "ion"})
    assert [each.id for each in european.devices] == ["aqt-ibex-q1"]
    report = await ask(node, "device", device="iqm-garnet")
    assert "20━━0.22━━16" in report.draw(100)
    assert "linear-ramp QAOA on a chain of 10, 10 layers" in report.draw(100)
    assert "No benchmark of this machine" in (await ask(node, "device", device="oqc-lucy")).draw(80)
    assert "0.00145 USD a shot" in report.draw(100)
    assert "[1] Amazon Braket device capabilities of iqm-garnet, median" in report.draw(100)
    ions = (await ask(node, "device", device="quantinuum-h2-1")).draw(80)
    assert "99.997 %" in ions, "an error that is not nothing is not rounded to nothing"
    assert max(map(len, f"{ions}\n{report.draw(80)}".splitlines())) <= 80
    assert "conflict: qubits is 56 in Azure" in ions
    drawn = await ask(node, "device", device="iqm-garnet", svg=True)
    assert drawn.draw(80).startswith("<svg")
    stacks = {each.stack: each.state for each in await ask(node, "stacks")}
    assert stacks["gates"] == "in the node's environment"
    with pytest.raises(SkerryError) as refused:
        await ask(node, "install", stack="no-such")
    assert refused.value.problem is NOT_FOUND


async def test_estimate_run_cost_and_histogram(node: Node) -> None:
    await serve(node)
    where = {"in": ["EU"]}
    table = await ask(
        node, "estimate", app=APP, program=ghz(3), budget="5", currency="EUR", **where
    )
    fitting = {"iqm-garnet", "iqm-emerald", "sim-ideal", "sim-density", "sim-mps"}
    assert {each.device for each in table.quotes if each.fits} == fitting
    assert "go to none of these machines themselves" in table.draw(200), "it states no terms"
    why = {each.device: each.why for each in table.quotes if not each.fits}
    assert why["aqt-ibex-q1"] == "It costs 21.30 EUR, which is above the budget."
    assert "is not known" in why["ibm-berlin"]
    dip = '{"modes": 2, "input": [1, 1], "components": [["bs", [0, 1], [1.5707963]]]}'
    photonic = await ask(node, "estimate", app=APP, program=dip)
    fidelities = {each.device: each.fidelity for each in photonic.quotes if each.fits}
    assert fidelities["sim-photonic"] == 1.0
    assert fidelities["quandela-belenos"] is None, "what errs in the machine is not published"
    assert "1.42 EUR" in table.draw(100)
    report: JobReport = await ask(node, "run", app=APP, program=ghz(3), device="iqm-garnet")
    assert report.exit_code == 0
    text = report.draw(80)
    assert "twin of IQM Garnet" in text
    assert "█" in text
    assert report.results[0].provenance.node == node.name
    drawn = await ask(node, "job", app=APP, job=report.job.id, png="bars.png")
    assert drawn.contents()["png"].startswith(b"\x89PNG")
    assert report.contents() == {}
    with pytest.raises(SkerryError, match="not waited for"):
        await ask(node, "run", app=APP, program=ghz(3), png="bars.png", wait=False)
    cost = await ask(node, "cost", app=APP, job=report.job.id)
    assert (cost.hardware, cost.channel) == ("1.42 EUR", "Scaleway")
    assert "1000 shots" in cost.draw(80)
    assert "price list" in cost.draw(80)
    assert (await ask(node, "jobs", app=APP)).draw(80).count(report.job.id) == 1
    checked = await ask(node, "verify", app=APP, job=report.job.id, record=True)
    assert (checked.signed, checked.exit_code) == (1, 0)
    assert f"skerry audit prove {checked.entry}" in checked.draw(100)
    recorded = node.audit.log.entry(checked.entry)
    assert checked.digests[0].encode() in recorded
    for form, start in (("svg", "<svg"), ("html", "<!doctype html>"), ("text", "job ")):
        chart = await ask(node, "histogram", app=APP, job=report.job.id, form=form)
        assert chart.draw(80).startswith(start)
    units = {each.unit: each.amount for each in await perform(node, "node.meter", app=APP)}
    assert (units["tasks"], units["shots"]) == (1, 1000)


@pytest.mark.skipif(not stacks.is_here("chemistry"), reason="its stack is not installed here")
async def test_the_energy_of_a_molecule_is_measured_on_a_twin(node: Node) -> None:
    await serve(node)
    asked = {"molecule": "H 0 0 0; H 0 0 0.735", "shots": 2000, "seed": 5}
    table = await ask(node, "chemistry", app=APP, **asked)
    (found,) = table.energies
    assert found.twin.device == "iqm-garnet"
    assert found.exact < found.twin.energy < found.exact + 0.1
    assert "error budget" in table.draw(100)
    report = await ask(node, "job", app=APP, job=found.twin.job)
    assert len(report.results) == found.twin.circuits
    table = await ask(node, "chemistry", app=APP, device="none", lengths=[0.7, 0.8], **asked)
    assert [each.twin for each in table.energies] == [None, None]


async def test_a_device_is_reserved_and_released(node: Node) -> None:
    await serve(node)
    row = await ask(node, "reserve", app=APP, device="sim-ideal", minutes=5, owner="ada")
    assert [row] == await ask(node, "reservations", app=APP)
    asked = {"app": APP, "program": ghz(2), "shots": 10}
    other = await ask(node, "run", wait=False, **asked)
    report = await ask(node, "run", reservation=row.reservation, **asked)
    assert report.exit_code == 0
    assert (await ask(node, "job", app=APP, job=other.job.id)).exit_code == 8
    await ask(node, "release", app=APP, reservation=row.reservation)
    assert await ask(node, "reservations", app=APP) == []
    for at in ("2099-01-01T00:00:00Z", "2026-01-01", "tomorrow"):
        with pytest.raises(SkerryError) as refused:
            await ask(node, "reserve", app=APP, device="sim-ideal", at=at)
        assert refused.value.problem is INVALID


async def test_a_job_goes_on_after_its_process_was_killed(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skerry.kinds.quantum.waking.WAKE_SECONDS", 0.2)
    await serve(node)
    report = await ask(
        node, "run", app=APP, program=slow(), device="iqm-garnet", shots=400, wait=False
    )
    assert report.exit_code == 8
    running = node.supervisor.running(APP, "main", "qpu")
    assert running is not None
    os.kill(running.child.pid, signal.SIGKILL)
    await running.child.ended
    await node.services.handler("quantum").stop()
    await node.services.handler("quantum").start()
    async with asyncio.timeout(50):
        while node.supervisor.running(APP, "main", "qpu") is None:
            await asyncio.sleep(0.05)
        while not (report := await ask(node, "job", app=APP, job=report.job.id)).job.over:
            await asyncio.sleep(0.1)
    assert report.exit_code == 0
    assert sum(report.results[0].counts.values()) == 400


async def test_a_branch_that_sleeps_is_seldom_looked_into(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await serve(node)
    handler = node.services.handler("quantum")
    await handler.stop()
    await node.supervisor.sleep(APP, "main")
    looked: list[Path] = []
    moment: list[int | None] = [None]

    def due(state: Path) -> int | None:
        looked.append(state)
        return moment[0]

    monkeypatch.setattr("skerry.kinds.quantum.alarm.due", due)
    waiter = Waker(node)
    await waiter.look(everywhere=True)
    assert len(looked) == 1
    await waiter.look(everywhere=False)
    assert len(looked) == 1, "nothing ran there since"
    moment[0] = node.clock.now() + 3600 * 10**9
    await waiter.look(everywhere=True)
    await waiter.look(everywhere=False)
    assert len(looked) == 3, "a job waits there"
    moment[0] = None
    assert (await ask(node, "run", app=APP, program=ghz(2), shots=10)).exit_code == 0
    await waiter.look(everywhere=False)
    await waiter.look(everywhere=False)
    assert len(looked) == 5, "it is awake"


PAGES = (
    ("/quantum", "IQM Garnet"),
    ("/quantum/devices", "IQM Garnet"),
    ("/quantum/devices/iqm-garnet", "--provider braket"),
    ("/quantum/devices/iqm-garnet", "99.59 %"),
    ("/quantum/devices/quantinuum-h2-1", "Sources disagree: qubits is 56"),
    ("/quantum/devices/microsoft-majorana-1", "hypothetical"),
    ("/quantum/devices/ibm-boston", "better than the machine"),
    ("/quantum/devices/aqt-ibex-q1", "No benchmark of this machine is published"),
    ("/quantum/jobs", "first"),
    ("/quantum/reservations", "ada"),
    ("/quantum/jobs/lab/main/qpu/{job}", "twin of IQM Garnet"),
    (f"/quantum/compare?app=lab&program={quote(ghz(3))}", "1.42 EUR"),
)


async def test_the_pages_of_the_console() -> None:
    with open_directory() as home:
        node = make_node(options_in(home))
        await node.start()
        try:
            await serve(node)
            report = await ask(
                node, "run", app=APP, program=ghz(3), device="iqm-garnet", name="first"
            )
            await ask(node, "reserve", app=APP, device="ibm-fez", minutes=5, owner="ada")
            cookie = await asyncio.to_thread(_log_in, node)
            for path, text in PAGES:
                url = f"{node.url}{path.format(job=report.job.id)}"
                answer = await asyncio.to_thread(
                    request, url, "GET", None, {"Cookie": cookie, "Host": node.url[7:]}
                )
                page = answer.body.decode()
                assert answer.status == 200, (path, page[:500])
                assert text in page, path
                assert page.count("<svg") == page.count("</svg>")
        finally:
            await node.stop()


def _log_in(node: Node) -> str:
    """Return the cookie of a session, as a browser gets it."""
    client = local(node.home.root)
    answer = request(f"{node.url}{client.login_path()}", headers={"Host": node.url[7:]})
    assert answer.status == 303
    return {k.lower(): v for k, v in answer.headers.items()}["set-cookie"].partition(";")[0]
