"""Hybrid jobs: create, look at, cancel and search.

Source: the service's own model in botocore, `braket/2019-09-01`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from skerry.kernel.errors import INVALID, NOT_FOUND, TOO_LARGE
from skerry.kinds.quantum.contract import JobState
from skerry.kinds.quantum.desk import Desk
from skerry.kinds.quantum.hybrid.contract import (
    DEVICE_OF_NOBODY,
    HybridJob,
    HybridRequest,
    Input,
)
from skerry.kinds.quantum.wires.braket import images, names
from skerry.kinds.quantum.wires.braket.searching import (
    ORDERED,
    PAGE_MAX,
    Filter,
    check,
    newest,
)
from skerry.kinds.quantum.wires.braket.tasks import Association, reservation
from skerry.kinds.quantum.wires.frame import Call, Reply

WIRE = "braket-job"
_URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)
BODY_MAX = 1 << 20
_SHOWN_MAX = 15
"""Places behind this one are told as `>15`."""

_Uri = Annotated[str, msgspec.Meta(max_length=1024)]
_Name = Annotated[
    str, msgspec.Meta(min_length=1, max_length=50, pattern="^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,50}$")
]


class Script(msgspec.Struct, frozen=True, rename="camel"):
    """Which script runs."""

    entry_point: Annotated[
        str,
        msgspec.Meta(
            max_length=256, pattern=r"^[A-Za-z_][\w]*(\.[A-Za-z_][\w]*)*(:[A-Za-z_][\w]*)?$"
        ),
    ]
    s3_uri: _Uri = msgspec.field(name="s3Uri")
    compression_type: str = "NONE"


class Image(msgspec.Struct, frozen=True):
    """Which container image it runs in."""

    uri: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class Algorithm(msgspec.Struct, frozen=True, rename="camel"):
    """The script and its image."""

    script_mode_config: Script
    container_image: Image | None = None


class S3(msgspec.Struct, frozen=True):
    """Where files lie."""

    uri: _Uri = msgspec.field(name="s3Uri")


class Source(msgspec.Struct, frozen=True):
    """Where the files of a channel lie."""

    s3: S3 = msgspec.field(name="s3DataSource")


class Channel(msgspec.Struct, frozen=True, rename="camel"):
    """Files that a job is given."""

    channel_name: Annotated[
        str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_\-][A-Za-z0-9.\-_]*$")
    ]
    data_source: Source
    content_type: str = ""


class Output(msgspec.Struct, frozen=True):
    """Where results go."""

    path: _Uri = msgspec.field(name="s3Path")


class Checkpoints(msgspec.Struct, frozen=True):
    """Where checkpoints go."""

    uri: _Uri = msgspec.field(name="s3Uri")
    local: Annotated[str, msgspec.Meta(max_length=4096)] = msgspec.field(
        name="localPath", default=""
    )


class Stopping(msgspec.Struct, frozen=True):
    """How long a job may run."""

    seconds: Annotated[int, msgspec.Meta(ge=1, le=432_000)] = msgspec.field(
        name="maxRuntimeInSeconds", default=432_000
    )


class Instance(msgspec.Struct, frozen=True, rename="camel"):
    """What machine it is meant for: one of this node's, whatever its type is called."""

    instance_type: Annotated[str, msgspec.Meta(pattern=r"^ml\.[a-z0-9]{1,8}\.[a-z0-9]{1,12}$")]
    volume_size_in_gb: Annotated[int, msgspec.Meta(ge=1)]
    instance_count: Annotated[int, msgspec.Meta(ge=1)] = 1


class OnDevice(msgspec.Struct, frozen=True):
    """The device whose queue lets its tasks go first."""

    device: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class Create(msgspec.Struct, frozen=True, rename="camel"):
    """The body of CreateJob."""

    client_token: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    algorithm_specification: Algorithm
    output_data_config: Output
    job_name: _Name
    role_arn: Annotated[
        str, msgspec.Meta(max_length=2048, pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/")
    ]
    instance_config: Instance
    device_config: OnDevice
    checkpoint_config: Checkpoints | None = None
    input_data_config: Annotated[list[Channel], msgspec.Meta(max_length=20)] = []
    stopping_condition: Stopping = Stopping()
    hyper_parameters: Annotated[dict[str, str], msgspec.Meta(max_length=100)] = {}
    tags: Annotated[dict[str, str], msgspec.Meta(max_length=50)] = {}
    associations: Annotated[list[Association], msgspec.Meta(max_length=1)] = []


class Search(msgspec.Struct, frozen=True, rename="camel"):
    """The body of SearchJobs."""

    filters: Annotated[list[Filter], msgspec.Meta(max_length=10)] = []
    max_results: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = PAGE_MAX
    next_token: str = ""


async def create(call: Call, region: str) -> Reply:
    """Answer CreateJob: all of it is checked before anything of it is kept."""
    if len(await call.body()) > BODY_MAX:
        raise TOO_LARGE(f"The description of a job has at most {BODY_MAX >> 10} KiB.")
    body = await call.json()
    asked = msgspec.convert(body, Create)
    request = _request(asked, body, region)
    for each in asked.associations:
        if not request.device:
            raise INVALID("A job on no device belongs to no reservation.")
        await reservation(call, names.find(asked.device_config.device), each.arn)
    job = await call.desk.hybrid.submit(request)
    return Reply({"jobArn": names.hybrid_arn(job.id, region, call.desk.context.id)}, 201)


def _request(asked: Create, body: dict[str, Any], region: str) -> HybridRequest:
    """Return what a body asks for, in neutral words; raise INVALID."""
    if asked.instance_config.instance_count != 1:
        raise INVALID("A hybrid job runs on one instance here, the node itself.")
    script = asked.algorithm_specification.script_mode_config
    image = asked.algorithm_specification.container_image
    device = asked.device_config.device
    outside = device.startswith(DEVICE_OF_NOBODY)
    bucket, key = _place(script.s3_uri)
    output = _place(asked.output_data_config.path)
    checkpoints = asked.checkpoint_config or Checkpoints(
        f"s3://{output[0]}/jobs/{asked.job_name}/checkpoints"
    )
    channels = [each.channel_name for each in asked.input_data_config]
    if len(set(channels)) < len(channels):
        raise INVALID("Two channels of input data have one name.")
    native = {
        "wire": WIRE,
        "region": region,
        "device": device,
        "image": image.uri if image else "",
        "reservation": asked.associations[0].arn if asked.associations else "",
        "asked": {name: body[name] for name in _SHOWN if name in body},
    }
    return HybridRequest(
        name=asked.job_name,
        device="" if outside else names.find(device).id,
        stack=images.stack_of(image.uri if image else ""),
        bucket=bucket,
        script=key,
        entry=script.entry_point,
        output=output,
        checkpoints=_place(checkpoints.uri),
        inputs=tuple(
            Input(each.channel_name, *_place(each.data_source.s3.uri, folder=False))
            for each in asked.input_data_config
        ),
        hyperparameters=asked.hyper_parameters,
        seconds=asked.stopping_condition.seconds,
        token=asked.client_token,
        tags=asked.tags,
        native=native,
    )


_SHOWN = (
    "roleArn",
    "hyperParameters",
    "inputDataConfig",
    "outputDataConfig",
    "stoppingCondition",
    "checkpointConfig",
    "algorithmSpecification",
    "instanceConfig",
    "deviceConfig",
    "associations",
)
"""What GetJob tells as it was asked for."""


def _place(uri: str, *, folder: bool = True) -> tuple[str, str]:
    """Return bucket and key of an address; raise INVALID."""
    found = _URI.fullmatch(uri)
    if found is None:
        raise INVALID(f"{uri[:200]!r} is no address such as s3://bucket/key.")
    key = found[2] or ""
    return found[1], key.rstrip("/") if folder else key


async def show(call: Call, _region: str) -> Reply:
    """Answer GetJob."""
    return Reply(await described(call.desk, await _job(call)))


async def _job(call: Call) -> HybridJob:
    return await call.desk.hybrid.job(names.hybrid_of(call.parts[1], call.desk.context.id))


def is_ours(job: HybridJob) -> bool:
    """Tell whether a hybrid job was made by this wire."""
    return job.request.native.get("wire") == WIRE


async def described(desk: Desk, job: HybridJob) -> dict[str, Any]:
    """Return all that is told of a job."""
    native = job.request.native
    found = _summary(job, desk.context.id)
    del found["device"]
    found |= {name: native["asked"][name] for name in _SHOWN if name in native["asked"]}
    found["stoppingCondition"] = {"maxRuntimeInSeconds": job.request.seconds}
    found["queueInfo"] = _queue(job)
    found["associations"] = native["asked"].get("associations", [])
    found["events"] = [
        {"eventType": kind, "timeOfEvent": names.moment(event.at), "message": event.note[:2500]}
        for event in await desk.events(job.id)
        if (kind := _EVENTS.get(event.state))
    ]
    if job.over and job.started:
        found["billableDuration"] = (job.ended - job.started) // 1_000_000
    if job.why:
        found["failureReason"] = job.why[:1024]
    return found


_EVENTS = {
    JobState.QUEUED: "QUEUED_FOR_EXECUTION",
    JobState.RUNNING: "RUNNING",
    JobState.COMPLETED: "COMPLETED",
    JobState.FAILED: "FAILED",
    JobState.CANCELLED: "CANCELLED",
}


def _summary(job: HybridJob, resource_id: str) -> dict[str, Any]:
    """Return what is told of a job in lists."""
    native = job.request.native
    found: dict[str, Any] = {
        "jobArn": names.hybrid_arn(job.id, str(native["region"]), resource_id),
        "jobName": job.request.name,
        "status": job.state.value,
        "device": native["device"],
        "createdAt": names.moment(job.created),
        "tags": job.request.tags,
    }
    if job.started:
        found["startedAt"] = names.moment(job.started)
    if job.ended:
        found["endedAt"] = names.moment(job.ended)
    return found


def _queue(job: HybridJob) -> dict[str, Any]:
    found = {"queue": "JOBS_QUEUE"}
    if job.position:
        place = str(job.position) if job.position <= _SHOWN_MAX else f">{_SHOWN_MAX}"
        return found | {"position": place}
    text = f"Job is in {job.state} status, in which it has no place in the queue."
    return found | {"position": "None", "message": text}


async def cancel(call: Call, _region: str) -> Reply:
    """Answer CancelJob."""
    job = await call.desk.hybrid.cancel((await _job(call)).id)
    ended = "CANCELLED" if job.state is JobState.CANCELLED else "CANCELLING"
    return Reply({"jobArn": call.parts[1], "cancellationStatus": ended})


async def tags(call: Call) -> Reply:
    """Answer ListTagsForResource for a hybrid job."""
    return Reply({"tags": (await _job(call)).request.tags})


_FIELDS = ("jobArn", "jobName", "device", "status", "createdAt")


async def search(call: Call, _region: str) -> Reply:
    """Answer SearchJobs, the newest first."""
    asked = msgspec.convert(await call.json(), Search)
    check(asked.filters, "Jobs", _FIELDS, (*ORDERED, "CONTAINS"))
    own = call.desk.context.id

    def told(job: HybridJob) -> dict[str, Any] | None:
        return _summary(job, own) if is_ours(job) else None

    found, going_on = await newest(asked, call.desk.hybrid.jobs, told)
    return Reply({"jobs": found} | going_on)


async def of_log(desk: Desk, prefix: str) -> HybridJob:
    """Return the job whose streams of log begin with `name/id`; raise NOT_FOUND."""
    name, _, rest = prefix.partition("/")
    job = await desk.hybrid.job(rest.partition("/")[0])
    if job.request.name != name:
        raise NOT_FOUND(f"There is no stream {prefix[:200]}.")
    return job
