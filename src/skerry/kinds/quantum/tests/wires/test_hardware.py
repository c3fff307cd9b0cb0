"""Jobs on vendors' machines. The vendor here is another node: its wires are what vendors speak."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from skerry.app import kinds, services
from skerry.kernel.errors import DENIED, UNSUPPORTED, SkerryError
from skerry.kernel.policy import Decision, Place
from skerry.kinds.quantum.alarm import OPEN_FILE
from skerry.kinds.quantum.config import Agreed
from skerry.kinds.quantum.contract import Budget, Job, JobRequest, JobState, Program
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.results import is_signed, public_key
from skerry.kinds.quantum.tests.conftest import MakeContext
from skerry.kinds.quantum.tests.test_atoms import chain
from skerry.kinds.quantum.tests.test_perceval import HOM
from skerry.kinds.quantum.tests.test_pulser import sequence
from skerry.kinds.quantum.tests.wires.conftest import Place as Vendor
from skerry.testing.nodes import deploy, open_directory, perform, running_node

pytestmark = pytest.mark.timeout(120)
FLIPPED = 'include "stdgates.inc"; qubit[2] q; bit[3] c; x q[0]; c[2] = measure q[0];'
FLIPPED += "c[0] = measure q[1];"
DECIDING = 'include "stdgates.inc"; qubit[2] q; bit c; bit d; x q[0];\nc = measure q[0];\n'
DECIDING += "if (c) { x q[1]; }\nd = measure q[1];"
BUDGET = Budget("100", "USD")
WORKSPACE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Quantum/workspaces/w"


class Gate:
    """The decision point: it keeps what it was asked, and allows it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Place]] = []

    async def permit(self, action: str, place: Place, *, encrypted: bool = False) -> Decision:
        self.asked.append((action, place))
        return Decision(True, "test", "allowed")


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def own(make_context: MakeContext, place: Vendor, gate: Gate) -> AsyncIterator[QuantumEngine]:
    fields = place.fields
    endpoints = {
        "ionq": f"{fields['base']}/ionq/v0.4",
        "braket": fields["url"],
        "s3": fields["url"],
        "ibm": f"{fields['base']}/ibm",
        "iam": f"{fields['base']}/ibm",
        "iqm": fields["url"],
        "aqt": f"{fields['base']}/aqt",
        "scaleway": f"{fields['base']}/scaleway",
        "quandela": f"{fields['base']}/quandela",
        "azure": f"{fields['base']}/azure",
        "azure-login": f"{fields['base']}/azure",
    }
    secrets = {
        "IONQ_API_KEY": fields["token"],
        "AWS_ACCESS_KEY_ID": fields["access_key"],
        "AWS_SECRET_ACCESS_KEY": fields["secret_key"],
        "BRAKET_BUCKET": "amazon-braket-results",
        "IBM_API_KEY": fields["token"],
        "IBM_INSTANCE_CRN": "crn:v1:bluemix:public:quantum-computing:us-east:a/x:y::",
        "IQM_TOKEN": fields["token"],
        "AQT_TOKEN": fields["token"],
        "SCALEWAY_SECRET_KEY": fields["token"],
        "SCALEWAY_PROJECT_ID": "project",
        "QUANDELA_TOKEN": fields["token"],
        "AZURE_TENANT_ID": "tenant",
        "AZURE_CLIENT_ID": "client",
        "AZURE_CLIENT_SECRET": fields["token"],
        "AZURE_QUANTUM_WORKSPACE": WORKSPACE,
        "AZURE_QUANTUM_LOCATION": "westeurope",
    }
    prices = {"ibm": Agreed(per_second="1.60", currency="USD", as_of="2026-11-27")}
    context = make_context(endpoints=endpoints, prices=prices)
    made = QuantumEngine(replace(context, secrets=secrets, permit=gate.permit))
    made.desk.hardware.first_seconds = 0.05
    await made.start()
    yield made
    await made.stop()


def asked(device: str, provider: str, **more: Any) -> JobRequest:
    shape = {"shots": 200, "budget": BUDGET, "provider": provider, **more}
    return JobRequest(device, (Program(FLIPPED),), **shape)


async def over(engine: QuantumEngine, job: Job) -> Job:
    async with asyncio.timeout(100):
        while not (job := await engine.desk.wait(job.id, 10.0)).over:
            pass
    return job


WAYS = {
    "ionq": "ionq-forte-1",
    "braket": "iqm-garnet",
    "ibm": "ibm-torino",
    "iqm": "iqm-emerald",
    "aqt": "aqt-ibex-q1",
    "scaleway": "iqm-garnet",
    "azure": "ionq-forte-1",
}


async def test_jobs_go_to_machines_by_every_way_that_a_wire_here_speaks(
    own: QuantumEngine, gate: Gate
) -> None:
    jobs = {}
    for provider, device in WAYS.items():
        jobs[provider] = await own.desk.submit(asked(device, provider))
    assert (own.context.directory / OPEN_FILE).exists()
    assert {action for action, _ in gate.asked} == {"quantum:submit"}
    countries = [each.country for _, each in gate.asked[1::2]]
    assert countries == ["US", "FI", "US", "DE", "AT", "FI", "US"]
    for provider, sent in jobs.items():
        job = await over(own, sent)
        assert job.state is JobState.COMPLETED, (provider, job.error)
        assert job.vendor_job
        assert job.cost is not None and job.cost.posted
        assert "was not tried against the vendor" in job.nature
        result = await own.desk.result(job.id)
        assert max(result.counts, key=lambda bits: result.counts[bits]) == "001"
        assert result.counts["001"] > 150
        assert result.provenance.calibration is None
        assert provider == result.provenance.engine
        assert is_signed(result, public_key(own.context))
    await _beyond_circuits(own)
    await _choices(own)
    await _makers_on_azure(own)


async def _makers_on_azure(own: QuantumEngine) -> None:
    """Send what each maker's machines on Azure take: OpenQASM 2, Quil as compiled, sequences."""
    free = {"azure": Agreed(per_task="0.01", as_of="2026-11-27")}
    own.desk.config = msgspec.structs.replace(own.desk.config, prices=free)
    for device in ("quantinuum-h2-1", "rigetti-cepheus-1-108q"):
        job = await over(own, await own.desk.submit(asked(device, "azure")))
        assert job.state is JobState.COMPLETED, (device, job.error)
        counts = (await own.desk.result(job.id)).counts
        assert max(counts, key=lambda bits: counts[bits]) == "001", device
    near = Program(sequence(((400, 7.85, 0.0, 0.0),), ((0.0, 0.0), (0.0, 5.0))), "pulser")
    request = JobRequest("pasqal-fresnel", (near,), shots=100, budget=BUDGET, provider="azure")
    job = await over(own, await own.desk.submit(request))
    assert job.state is JobState.COMPLETED, job.error
    counts = (await own.desk.result(job.id)).counts
    assert sum(counts.values()) == 100
    assert counts.get("rr", 0) < 20, "one atom blocks the other"


async def _choices(own: QuantumEngine) -> None:
    """Send a program that decides while it runs: IBM's form has an `if`, others are refused."""
    request = asked("ibm-torino", "ibm")
    decides = msgspec.structs.replace(request, programs=(Program(DECIDING),))
    job = await over(own, await own.desk.submit(decides))
    assert job.state is JobState.COMPLETED, job.error
    counts = (await own.desk.result(job.id)).counts
    assert counts.get("11", 0) > 150
    for provider in ("scaleway", "braket", "iqm"):
        other = msgspec.structs.replace(decides, device="iqm-garnet", provider=provider)
        with pytest.raises(SkerryError, match=f"Line 3: .* not sent to {provider}") as refused:
            await own.desk.submit(other)
        assert refused.value.problem is UNSUPPORTED


async def _beyond_circuits(own: QuantumEngine) -> None:
    """Send a program of atoms and one of photons: they go as they came."""
    for provider, device, program, likely in (
        ("braket", "quera-aquila", Program(chain(3), "ahs"), "rgr"),
        ("quandela", "quandela-belenos", Program(HOM, "perceval", ({"theta": math.pi / 2},)), ""),
    ):
        budget = Budget("1000", "USD")
        request = JobRequest(device, (program,), shots=100, budget=budget, provider=provider)
        job = await over(own, await own.desk.submit(request))
        assert job.state is JobState.COMPLETED, (provider, job.error)
        result = await own.desk.result(job.id)
        assert result.shots == 100
        assert likely in ("", max(result.counts, key=lambda text: result.counts[text]))


TERMS = """
[app]
name = "lab"
[quantum.qpu]
secrets = ["IONQ_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "BRAKET_BUCKET"]
[policy]
jurisdiction = ["EU"]
"""


async def test_an_app_that_stays_in_the_eu_is_told_which_machines_it_can_reach() -> None:
    with open_directory() as home:
        (home / "config.toml").write_text('country = "SE"\n')
        async with running_node(kinds(), home=home, services=services()) as node:
            for name in ("IONQ_API_KEY", "AWS_ACCESS_KEY_ID"):
                await perform(node, "secret.set", app="lab", name=name, value="none")
            for name in ("AWS_SECRET_ACCESS_KEY", "BRAKET_BUCKET"):
                await perform(node, "secret.set", app="lab", name=name, value="none")
            await deploy(node, {"skerry.toml": TERMS})
            run = {"app": "lab", "program": FLIPPED, "shots": 100, "budget": "50"}
            with pytest.raises(SkerryError) as caught:
                await perform(node, "quantum.run", **run, device="ionq-forte-1", provider="ionq")
            error = caught.value
            assert error.problem is DENIED
            assert "Policy does not let a job go to IonQ Forte" in error.what
            reached = error.why.rpartition("go to: ")[2]
            assert "iqm-garnet by braket" in reached
            assert "ionq" not in reached
            dear = {"device": "iqm-garnet", "provider": "braket", "budget": "0.01"}
            with pytest.raises(SkerryError, match="and the budget is") as caught:
                await perform(node, "quantum.run", **{**run, **dear})
            assert "Policy" not in caught.value.why, "it was the budget"
            asked = {"app": "lab", "program": FLIPPED, "device": ["iqm-garnet", "ionq-forte-1"]}
            table = await perform(node, "quantum.estimate", **asked)
            assert {name: "braket" in by for name, by in table.allowed.items()} == {
                "iqm-garnet": True,
                "ionq-forte-1": False,
            }
            report = await perform(node, "quantum.run", **run, device="ionq-forte-1")
            assert report.job.state is JobState.COMPLETED
