"""Which call a request is: Braket's by path, S3's and STS's by what they are signed for.

    POST /quantum-task             GET, PUT …/cancel /quantum-task/{arn}     POST /quantum-tasks
    GET  /device/{arn}             POST /devices             POST /jobs     GET /tags/{arn}
    S3:  GET, HEAD /{bucket}/{key} GET /{bucket}?list-type=2                PUT /{bucket}
    STS: GetCallerIdentity         without a signature: GET /braket/prices.csv

Source: the service's own model in botocore, `braket/2019-09-01`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

from skerry.kernel.errors import NOT_FOUND, UNSUPPORTED
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds._shared.s3.sigv4 import Credential
from skerry.kinds._shared.s3.xml import Element, document
from skerry.kinds.quantum.wires.braket import devices, errors, prices, storage, tasks
from skerry.kinds.quantum.wires.braket.names import account
from skerry.kinds.quantum.wires.braket.signing import authenticate
from skerry.kinds.quantum.wires.frame import Call, Reply, Vendor

_STS = "https://sts.amazonaws.com/doc/2011-06-15/"
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
    if credential.service == "sts":
        return await _identity(call)
    if credential.service != "braket":
        raise UNSUPPORTED(f"The service {credential.service[:40]} of AWS is not here.")
    try:
        return await _braket(call, credential)
    except errors.ProgramSetError as error:
        return errors.refuse_set(error)


_Handler = Callable[[Call, str], Awaitable[Reply]]
_CALLS: dict[tuple[str, str, int], _Handler] = {
    ("POST", "quantum-task", 1): tasks.create,
    ("GET", "quantum-task", 2): tasks.show,
    ("PUT", "quantum-task", 3): tasks.cancel,
    ("POST", "quantum-tasks", 1): tasks.search,
    ("GET", "tags", 2): tasks.tags,
    ("GET", "device", 2): devices.show,
    ("POST", "devices", 1): devices.search,
    ("POST", "jobs", 1): tasks.search_hybrid_jobs,
}


async def _braket(call: Call, credential: Credential) -> Reply:
    handler = _CALLS.get((call.method, call.parts[0], len(call.parts)))
    if handler is None or (call.method == "PUT" and call.parts[2] != "cancel"):
        raise NOT_FOUND(f"{call.method[:10]} {call.path[:200]} is no operation of Braket's here.")
    return await handler(call, credential.region)


async def _identity(call: Call) -> Reply:
    """Answer STS's GetCallerIdentity, by which the SDK names its default bucket."""
    form = parse_qs((await call.body(1 << 16)).decode("utf-8", "replace"))
    action = form.get("Action", [call.query.get("Action", "")])[0]
    if action != "GetCallerIdentity":
        raise UNSUPPORTED(f"{action[:60]} of STS is not here.")
    number = account(call.desk.context.id)
    root = Element("GetCallerIdentityResponse")
    found = root.add("GetCallerIdentityResult")
    found.add("Arn", f"arn:aws:iam::{number}:user/{call.desk.context.ref.name}")
    found.add("UserId", call.desk.context.id)
    found.add("Account", number)
    root.add("ResponseMetadata").add("RequestId", "0")
    return Reply(document(root, _STS), kind="text/xml")


WIRE = Vendor("braket", answer, errors.refuse)
"""The wire of Amazon Braket."""
