"""What the kind `quantum` declares."""

from __future__ import annotations

from skerry.kernel.manifest import (
    YES,
    Client,
    EngineInfo,
    Manifest,
    Unit,
    Verb,
    Wire,
    Word,
    not_yet,
)
from skerry.kinds.quantum.config import QuantumConfig
from skerry.kinds.quantum.contract import Job, Reservation
from skerry.kinds.quantum.hybrid.contract import HybridJob, Told
from skerry.kinds.quantum.messages import (
    Awaited,
    Energy,
    Learned,
    Listed,
    Molecule,
    Named,
    Need,
    Needed,
    Outcome,
    Page,
    Quote,
    Quoted,
    Request,
    Reserve,
    Reserved,
    Revised,
)

_AWS = (
    "AWS_ENDPOINT_URL={url} AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret_key} "
    "AWS_REGION=eu-north-1 BRAKET_PRICE_OFFERS_URL={base}/braket/prices.csv"
)
_CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/skerry:own-node::"
_NOBODY = "00000000-0000-0000-0000-000000000000"
_GARNET = "arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet"

MANIFEST = Manifest(
    name="quantum",
    summary="Jobs for quantum computers of all vendors, on dated twins of them.",
    stands_in_for="Amazon Braket, Azure Quantum, IBM Quantum, Google Quantum AI, Scaleway QaaS",
    engine_info=EngineInfo(name="Stim, Aer, qsim", version="", module="stim", extra="quantum"),
    engine="engine:QuantumEngine",
    subject="subject:QuantumSubject",
    replicates=YES,
    replica="replica:StateReplica",
    gpu=True,
    can={
        Verb.BRANCH: YES,
        Verb.BRANCH_AT: not_yet("Past states of jobs are not kept apart."),
        Verb.SLEEP: YES,
        Verb.PLACE: YES,
        Verb.METER: YES,
        Verb.BACKUP: YES,
        Verb.BIND: YES,
        Verb.EXPORT: YES,
        Verb.IMPORT: YES,
    },
    wires=(
        Wire(
            name="jobs",
            protocol="the neutral job over HTTP",
            summary="Jobs, results, devices and quotes as JSON.",
            application="wire:make",
            claim="claim:claim",
            connection="claim:connection",
            clients=(
                Client(
                    name="curl",
                    language="shell",
                    line='curl -H "Authorization: Bearer {token}" {url}/quantum/v1/jobs',
                ),
                Client(
                    name="amazon-braket-sdk",
                    language="Python",
                    line=f"{_AWS} python -c 'from braket.aws import AwsDevice; "
                    f'print(AwsDevice("{_GARNET}").queue_depth())\'',
                ),
                Client(
                    name="qiskit-braket-provider",
                    language="Python",
                    line=f"{_AWS} python -c 'from qiskit_braket_provider import BraketProvider; "
                    'print(BraketProvider().get_backend("Garnet"))\'',
                ),
                Client(
                    name="amazon-braket-pennylane-plugin",
                    language="Python",
                    line=f"{_AWS} python -c 'import pennylane as p; "
                    f'print(p.device("braket.aws.qubit", wires=2, device_arn="{_GARNET}"))\'',
                ),
                Client(
                    name="qiskit-ibm-runtime",
                    language="Python",
                    line="IAM_URL={base}/ibm QISKIT_FUNCTIONS_EXPERIMENTAL=1 python -c '"
                    "from qiskit_ibm_runtime import QiskitRuntimeService as Service; "
                    'print(Service(channel="ibm_quantum_platform", token="{token}", '
                    f'url="{{base}}/ibm/experimental", instance="{_CRN}").backends())\'',
                ),
                Client(
                    name="qiskit-ionq",
                    language="Python",
                    line="IONQ_API_TOKEN={token} IONQ_API_URL={base}/ionq/v0.4 python -c '"
                    "from qiskit_ionq import IonQProvider; "
                    'print(IonQProvider().get_backend("ionq_qpu.forte-1").calibration())\'',
                ),
                Client(
                    name="cirq-ionq",
                    language="Python",
                    line="IONQ_REMOTE_HOST={url} python -c 'from cirq_ionq import Service; "
                    'print(Service(api_key="{token}").get_current_calibration())\'',
                ),
                Client(
                    name="iqm-client",
                    language="Python",
                    line="IQM_TOKEN={token} python -c 'from iqm.qiskit_iqm import IQMProvider; "
                    'print(IQMProvider("{url}", quantum_computer="garnet").get_backend())\'',
                ),
                Client(
                    name="qiskit-scaleway",
                    language="Python",
                    line="QISKIT_SCALEWAY_API_URL={url}/scaleway "
                    "QISKIT_SCALEWAY_PROJECT_ID={name} QISKIT_SCALEWAY_SECRET_KEY={token} "
                    "python -c 'from qiskit_scaleway import ScalewayProvider; "
                    "print(ScalewayProvider().backends())'",
                ),
                Client(
                    name="pasqal-cloud",
                    language="Python",
                    line="SKERRY_TOKEN={token} python -c 'import os; "
                    "from pasqal_cloud import Endpoints, SDK; "
                    "from pasqal_cloud.authentication import TokenProvider; "
                    'own = type("Own", (TokenProvider,), dict(get_token=lambda _: '
                    'os.environ["SKERRY_TOKEN"]))(); '
                    'print(list(SDK(token_provider=own, project_id="{name}", '
                    'endpoints=Endpoints(core="{url}/pasqal")).get_device_specs_dict()))\'',
                ),
                Client(
                    name="perceval-quandela",
                    language="Python",
                    line="PCVL_CLOUD_TOKEN={token} python -c 'import perceval; "
                    'print(perceval.RemoteProcessor("sim:slos", url="{url}/quandela").specs)\'',
                ),
                Client(
                    name="azure-quantum",
                    language="Python",
                    line="SKERRY_TOKEN={token} python -c 'import os; "
                    "from azure.core.credentials import AzureKeyCredential as Key; "
                    "from azure.quantum import Workspace; "
                    f'print(Workspace(subscription_id="{_NOBODY}", resource_group="{{app}}", '
                    'name="skerry-{name}", location="westeurope", '
                    'credential=Key(os.environ["SKERRY_TOKEN"]), '
                    '_quantum_endpoint="{url}/azure").get_targets())\'',
                ),
                Client(
                    name="qiskit-aqt-provider",
                    language="Python",
                    line="python -c 'from qiskit_aqt_provider import AQTProvider; "
                    'print(AQTProvider().direct_access().get_resource("{url}/aqt/direct", '
                    '"{token}"))\'',
                ),
            ),
        ),
    ),
    binding="binding:bind",
    config=QuantumConfig,
    units=(
        Unit("tasks", "Jobs that were queued."),
        Unit("shots", "Shots that were run."),
        Unit("engine_ms", "Milliseconds in which an engine ran shots."),
        Unit("hybrid_ms", "Milliseconds in which a hybrid job ran."),
        Unit("micro_eur", "What vendors charge for jobs on hardware, in millionths of a euro."),
        Unit("micro_eur_back", "What of that was not charged in the end."),
        Unit("hqc_thousandths", "Thousandths of Quantinuum's credits that jobs on its twins mean."),
    ),
    words=(
        Word("submit", "Queue a job.", Request, Job, "run", mutates=True),
        Word("show", "Show a job with its results and steps.", Named, Outcome, "read"),
        Word("list", "List jobs, the newest first.", Listed, list[Job], "read"),
        Word("stop", "Cancel a job.", Named, Job, "run", mutates=True),
        Word("wait", "Wait for a job's end.", Awaited, Outcome, "read"),
        Word("hybrid-show", "Show a hybrid job.", Named, Told, "read"),
        Word("hybrid-list", "List hybrid jobs.", Page, list[HybridJob], "read"),
        Word("hybrid-stop", "Cancel a hybrid job.", Named, HybridJob, "run", mutates=True),
        Word("quote", "Compare devices for a program.", Quoted, list[Quote], "read"),
        Word("needs", "Estimate needs with error correction.", Needed, list[Need], "read"),
        Word("energies", "Compute a molecule's energies.", Molecule, list[Energy], "read"),
        Word("book", "Reserve a device.", Reserve, Reservation, "configure", mutates=True),
        Word("bookings", "List reservations.", Reserved, list[Reservation], "read"),
        Word(
            "unbook",
            "Give a reservation up.",
            Reserved,
            list[Reservation],
            "configure",
            mutates=True,
        ),
        Word("learn", "Take a calibration file in.", Learned, Revised, "configure", mutates=True),
    ),
    actions=("read", "run", "configure"),
    leaves=("quantum:submit",),
    package=__package__ or "",
)
