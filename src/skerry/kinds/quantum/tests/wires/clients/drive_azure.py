"""What azure-quantum, Qiskit, Cirq and Q# through it, unmodified, see of a node; told as JSON."""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

import cirq
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import HttpResponseError
from azure.quantum import Workspace
from azure.quantum.cirq import AzureQuantumService
from azure.quantum.qiskit import AzureQuantumProvider
from azure.quantum.target import IonQ, Pasqal, Quantinuum, Rigetti, Target
from azure.quantum.target.pasqal import Result as PasqalResult
from azure.quantum.target.rigetti import InputParams
from azure.quantum.target.rigetti import Result as RigettiResult
from qdk import azure as by_qdk
from qdk import qsharp
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister

GHZ = {
    "qubits": 3,
    "circuit": [
        {"gate": "h", "target": 0},
        {"gate": "cnot", "control": 0, "target": 1},
        {"gate": "cnot", "control": 1, "target": 2},
    ],
}
FIRST = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[3]; creg c[3]; x q[0]; measure q -> c;'
QUIL = (
    "DECLARE ro BIT[2]\nDECLARE theta REAL[1]\nRX(theta[0]) 7\nMEASURE 7 ro[0]\nMEASURE 9 ro[1]\n"
)


def workspace(url: str, token: str) -> Workspace:
    return by_qdk.Workspace(
        subscription_id="00000000-0000-0000-0000-000000000000",
        resource_group="lab",
        name="skerry-qpu",
        location="westeurope",
        credential=AzureKeyCredential(token),
        _quantum_endpoint=f"{url}/azure",
    )


def by_hand(own: Workspace) -> dict[str, Any]:
    """Every vendor's own format, by its own class of target."""
    found: dict[str, Any] = {"targets": sorted(each.name for each in own.get_targets())}
    simulator = own.get_targets("ionq.simulator")
    assert isinstance(simulator, IonQ)
    job = simulator.submit(GHZ, name="three", shots=100, tags=["first"])
    found["ionq"] = job.get_results(timeout_secs=60)["histogram"]
    found["state"], found["input"] = job.details.status, json.loads(job.download_data(
        job.details.input_data_uri
    ))  # fmt: skip
    found["again"] = own.get_job(job.id).details.name
    machine = own.get_targets("quantinuum.qpu.h2-1")
    assert isinstance(machine, Quantinuum)
    found["quantinuum"] = machine.submit(FIRST, shots=20).get_results(timeout_secs=60)["c"]
    rigetti = own.get_targets("rigetti.sim.qvm")
    assert isinstance(rigetti, Rigetti)
    swept = InputParams(count=5, substitutions={"theta": [[0.0], [3.141592653589793]]})
    job = rigetti.submit(QUIL, input_params=swept)
    job.wait_until_completed(timeout_secs=60, print_progress=False)
    found["rigetti"] = [list(shot) for shot in RigettiResult(job)["ro"]]
    job.upload_attachment("notes", b"remember")
    job.upload_attachment("large", bytes(range(256)) * 12_000)
    found["attached"] = sorted(each.name for each in job.list_attachments())
    found["notes"] = job.download_attachment("notes").decode()
    found["large"] = len(job.download_attachment("large"))
    return found


def by_pulser(own: Workspace, sequence: str) -> Any:
    target = own.get_targets("pasqal.sim.emu-free")
    assert isinstance(target, Pasqal)
    job = target.submit(json.dumps({"sequence_builder": sequence}), shots=50)
    job.wait_until_completed(timeout_secs=120, print_progress=False)
    return PasqalResult(job).data


def by_sessions(own: Workspace) -> dict[str, Any]:
    target = own.get_targets("ionq.simulator")
    with target.open_session(name="several", job_failure_policy="Continue") as session:
        made = [target.submit(GHZ, name=f"job {number}", shots=10) for number in range(2)]
        for each in made:
            each.wait_until_completed(timeout_secs=60, print_progress=False)
        found: dict[str, Any] = {"open": own.get_session(session.id).details.status}
    found["closed"] = session.refresh().details.status
    found["jobs"] = sorted(each.details.name for each in session.list_jobs())
    found["listed"] = [each.details.name for each in own.list_sessions()]
    try:
        target.submit(GHZ, shots=10)
    except HttpResponseError as error:
        found["late"] = [error.status_code, error.error.code]
    return found


def by_listing(own: Workspace) -> dict[str, Any]:
    names = [each.details.name for each in own.list_jobs(name_match="job", is_asc=True,
             orderby_property="Name", target=["ionq.simulator"], status=["Succeeded"])]  # fmt: skip
    pages = own.list_jobs_paginated(top=2)
    top = own.list_top_level_items(item_type=["Session"])
    first = own.list_jobs(name_match="three")[0]
    first.update(name="renamed", tags=["second"])
    job = own.get_targets("ionq.qpu.forte-1").submit(GHZ, name="forte", shots=100)
    job.wait_until_completed(timeout_secs=60, print_progress=False)
    cost = job.details.cost_estimate
    job.delete()
    try:
        own.get_job(job.id)
        gone = 0
    except HttpResponseError as error:
        gone = error.status_code
    return {
        "jobs": names,
        "paged": len(list(pages)),
        "top": [each.details.name for each in top],
        "renamed": [first.details.name, first.details.tags],
        "cost": [cost.currency_code, cost.estimated_total, len(cost.events)],
        "nature": job.details.metadata["nature"],
        "gone": gone,
        "quotas": sorted(each["providerId"] for each in own.get_quotas()),
    }


def by_qiskit(own: Workspace) -> dict[str, Any]:
    provider = AzureQuantumProvider(own)
    first, second = ClassicalRegister(2, "a"), ClassicalRegister(1, "b")
    circuit = QuantumCircuit(QuantumRegister(3), first, second, name="bits")
    circuit.x(0)
    circuit.h(2)
    circuit.measure([0, 1], first)
    circuit.measure(2, second)
    found: dict[str, Any] = {}
    for name in ("ionq.simulator", "quantinuum.sim.h2-1e", "rigetti.qpu.cepheus-1-108q"):
        job = provider.get_backend(name).run(circuit, shots=200)
        result = job.result(timeout=120)
        found[name] = {key: int(value) for key, value in result.get_counts().items()}
        found[f"{name} memory"] = len(result.get_memory())
    decides = QuantumCircuit(2, 2)
    decides.x(0)
    decides.measure(0, 0)
    with decides.if_test((decides.clbits[0], 1)):
        decides.x(1)
    decides.measure(1, 1)
    ions = provider.get_backend("quantinuum.qpu.h2-1")
    counts = ions.run(decides, shots=50).result(timeout=60).get_counts()
    found["deciding"] = {key: int(value) for key, value in counts.items()}
    own_format = provider.get_backend(
        "ionq.simulator", input_data_format="ionq.circuit.v1", gateset="qis"
    )
    plain = QuantumCircuit(2, 2)
    plain.x(0)
    plain.measure([0, 1], [0, 1])
    found["json"] = {k: int(v) for k, v in own_format.run(plain, shots=50).result(
        timeout=60).get_counts().items()}  # fmt: skip
    return found


def by_cirq(own: Workspace) -> dict[str, Any]:
    service = AzureQuantumService(own)
    a, b = cirq.LineQubit.range(2)
    circuit = cirq.Circuit(cirq.X(a), cirq.measure(a, b, key="m"))
    generic = service.run(circuit, repetitions=20, target="rigetti.sim.qvm")
    ions = service.run(circuit, repetitions=20, target="ionq.simulator")
    return {
        "targets": len(service.targets()),
        "generic": generic.measurements["m"].tolist(),
        "ionq": {str(k): v for k, v in ions.histogram(key="m").items()},
    }


def by_qsharp(own: Workspace) -> dict[str, Any]:
    qsharp.init(target_profile=qsharp.TargetProfile.Base)
    code = "{ use q = Qubit[2]; X(q[1]); MResetEachZ(q) }"
    program = qsharp.compile(code)
    target = own.get_targets("ionq.simulator")
    job = target.submit(program, shots=30)
    histogram = job.get_results_histogram(timeout_secs=60)
    old = target.submit(program, shots=30, output_data_format="microsoft.quantum-results.v1")
    qsharp.init(target_profile=qsharp.TargetProfile.Adaptive_RIF)
    deciding = qsharp.compile(
        "{ use q = Qubit[2]; X(q[0]); let a = M(q[0]); if a == One { X(q[1]); }"
        " let b = M(q[1]); Reset(q[0]); Reset(q[1]); (b, a == b) }"
    )
    ions = own.get_targets("quantinuum.qpu.h2-1").submit(deciding, shots=50)
    estimator = Target(own, "microsoft.estimator", provider_id="microsoft-qc")
    estimate = estimator.submit(
        program,
        input_params={"errorBudget": 0.01},
        output_data_format="microsoft.resource-estimates.v1",
    ).get_results(timeout_secs=60)
    return {
        "shots": job.get_results_shots(),
        "histogram": histogram,
        "deciding": ions.get_results_histogram(timeout_secs=60),
        "old": old.get_results(timeout_secs=60),
        "estimate": estimate["physicalCounts"]["physicalQubits"],
    }


def refused(own: Workspace, url: str, token: str) -> dict[str, Any]:
    target = own.get_targets("ionq.qpu.forte-1")
    wide = {"qubits": 40, "circuit": [{"gate": "h", "target": 39}]}
    cases: dict[str, Callable[[], Any]] = {
        "wide": lambda: target.submit(wide),
        "gate": lambda: target.submit({"qubits": 1, "circuit": [{"gate": "no", "target": 0}]}),
        "shots": lambda: target.submit(GHZ, shots=-1),
        "format": lambda: target.submit(FIRST, input_data_format="quil"),
        "token": lambda: workspace(url, f"{token[:20]}_no").get_quotas(),
    }
    found: dict[str, Any] = {}
    for name, case in cases.items():
        try:
            case()
        except HttpResponseError as error:
            found[name] = [error.status_code, error.error.code if error.error else ""]
    return found


def main() -> None:
    url, token, sequence = sys.argv[1:]
    warnings.simplefilter("ignore")
    own = workspace(url, token)
    with contextlib.redirect_stdout(sys.stderr):  # where the clients print their progress
        found = {
            "hand": by_hand(own),
            "sessions": by_sessions(own),
            "listing": by_listing(own),
            "refused": refused(own, url, token),
            "qiskit": by_qiskit(own),
            "cirq": by_cirq(own),
            "qsharp": by_qsharp(own),
            "pulser": by_pulser(own, sequence),
        }
    print(json.dumps(found))  # noqa: T201


main()
