"""Which call a request is: Braket's by path, those of others by what they are signed for.

    POST /quantum-task             GET, PUT …/cancel /quantum-task/{arn}     POST /quantum-tasks
    GET  /device/{arn}             POST /devices             GET /tags/{arn}
    POST /job                      GET, PUT …/cancel /job/{arn}             POST /jobs
    S3: see `storage`              STS, IAM: see `identity`  ECR: see `images`
    CloudWatch Logs: see `logs`    without a signature: GET /braket/prices.csv

Source: the service's own model in botocore, `braket/2019-09-01`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from skerry.kernel.errors import NOT_FOUND, UNSUPPORTED
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds._shared.s3.sigv4 import Credential
from skerry.kinds.quantum.wires.braket import (
    devices,
    errors,
    identity,
    images,
    jobs,
    logs,
    names,
    prices,
    storage,
    tasks,
)
from skerry.kinds.quantum.wires.braket.signing import authenticate
from skerry.kinds.quantum.wires.frame import Call, Reply, Vendor

_PRICES = "/prices.csv"


async def answer(call: Call) -> Reply:
    """Answer one request of the SDK."""
    if (call.method, call.path) == ("GET", _PRICES) and "authorization" not in call.headers:
        return Reply(prices.table().encode(), kind="text/csv")
    try:
        credential = await authenticate(call)
        if credential.service == "s3":
            return await storage.answer(call)
    except S3Error as error:
        return errors.refuse_storage(call, error)
    around = _AROUND.get(credential.service)
    if around is not None:
        return await around(call)
    if credential.service != "braket":
        raise UNSUPPORTED(f"The service {credential.service[:40]} of AWS is not here.")
    try:
        return await _braket(call, credential)
    except errors.ProgramSetError as error:
        return errors.refuse_set(error)


async def _tags(call: Call, region: str) -> Reply:
    """Answer ListTagsForResource, of a task or of a hybrid job."""
    if names.is_hybrid(call.parts[1]):
        return await jobs.tags(call)
    return await tasks.tags(call, region)


_AROUND: dict[str, Callable[[Call], Awaitable[Reply]]] = {
    "sts": identity.who,
    "iam": identity.roles,
    "logs": logs.answer,
    "ecr": images.answer,
}
"""The services that the SDK asks besides Braket and S3, by what requests are signed for."""

_Handler = Callable[[Call, str], Awaitable[Reply]]
_CALLS: dict[tuple[str, str, int], _Handler] = {
    ("POST", "quantum-task", 1): tasks.create,
    ("GET", "quantum-task", 2): tasks.show,
    ("PUT", "quantum-task", 3): tasks.cancel,
    ("POST", "quantum-tasks", 1): tasks.search,
    ("GET", "tags", 2): _tags,
    ("POST", "job", 1): jobs.create,
    ("GET", "job", 2): jobs.show,
    ("PUT", "job", 3): jobs.cancel,
    ("GET", "device", 2): devices.show,
    ("POST", "devices", 1): devices.search,
    ("POST", "jobs", 1): jobs.search,
}


async def _braket(call: Call, credential: Credential) -> Reply:
    handler = _CALLS.get((call.method, call.parts[0], len(call.parts)))
    if handler is None or (call.method == "PUT" and call.parts[2] != "cancel"):
        raise NOT_FOUND(f"{call.method[:10]} {call.path[:200]} is no operation of Braket's here.")
    return await handler(call, credential.region)


WIRE = Vendor("braket", answer, errors.refuse)
"""The wire of Amazon Braket."""
