"""Computation models: programs that are sent once and run by jobs.

A model is JSON of the library qio: programs in a format, maybe packed by zlib, which is unpacked up
to a bound and no further. It is read when it comes, so that a bad one is refused at once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import zlib
from typing import Annotated, Any

import msgspec

from skerry.kernel.errors import INVALID, TOO_LARGE, UNAUTHENTICATED, UNSUPPORTED
from skerry.kinds.quantum.checks import EXECUTIONS_MAX, SOURCE_BYTES_MAX
from skerry.kinds.quantum.contract import Program
from skerry.kinds.quantum.store import Store
from skerry.kinds.quantum.wires.frame import Call, Reply
from skerry.kinds.quantum.wires.scaleway.names import WIRE, fresh, moment

SORT = "model"
MODELS_MAX = 200
_PURPOSE = "scaleway-models"
_PLAIN, _ZLIB = 1, 2
_FORMATS = {2: "openqasm2", 3: "openqasm3"}
_NAMES = {4: "QIR", 5: "Cirq", 6: "Perceval", 7: "Pulser"}


class Serialised(msgspec.Struct, frozen=True):
    """A program in a format, maybe packed."""

    serialization: str
    serialization_format: int
    compression_format: int = _PLAIN


class Computation(msgspec.Struct, frozen=True):
    """The content of a model."""

    programs: Annotated[
        tuple[Serialised, ...], msgspec.Meta(min_length=1, max_length=EXECUTIONS_MAX)
    ]
    noise_model: Any = None


class Sequence(msgspec.Struct, frozen=True):
    """The content of a model of Pulser's, as pulser-scaleway sends it."""

    sequence: str
    backend_configuration: str | None = None


class Model(msgspec.Struct, frozen=True):
    """A model as it is kept."""

    id: str
    created: int
    project: str
    payload: str


_models = msgspec.json.Decoder(Model)


async def create(call: Call) -> dict[str, Any]:
    """Keep a model; raise what forbids any of its programs."""
    body = await call.json()
    payload = body.get("payload")
    if not isinstance(payload, str):
        raise INVALID("A model has a payload, which is a text.")
    read(payload)
    now = call.desk.context.clock.now()
    model = Model(fresh(), now, str(body.get("project_id", ""))[:100], payload)
    data = msgspec.json.encode(model)
    await call.desk.stored(Store.keep_paper, WIRE, SORT, model.id, data, MODELS_MAX)
    return told(call, model)


def told(call: Call, model: Model) -> dict[str, Any]:
    """Return a model as the API tells it, with an address of its payload that needs no token."""
    ref = call.desk.context.ref
    base = f"{call.headers.get('x-forwarded-proto', 'http')}://{call.headers.get('host', '')}"
    path = f"/@{ref.app}/{ref.branch}/@{ref.name}/{WIRE}/payloads/{model.id}"
    return {
        "id": model.id,
        "created_at": moment(model.created),
        "project_id": model.project,
        "url": f"{base}{path}?signature={_signature(call, model.id)}",
    }


def _signature(call: Call, model_id: str) -> str:
    key = call.desk.context.keys.secret(_PURPOSE, 42).encode()
    return hmac.new(key, model_id.encode(), hashlib.sha256).hexdigest()


async def payload(call: Call, model_id: str) -> Reply:
    """Return a model's payload at an address that was signed; raise UNAUTHENTICATED for others."""
    presented = call.query.get("signature", "").encode("utf-8", "replace")
    if not hmac.compare_digest(presented, _signature(call, model_id).encode()):
        raise UNAUTHENTICATED("The address of the model is not signed.")
    return Reply((await find(call, model_id)).payload.encode())


def read(payload: str) -> tuple[Program, ...] | Sequence:
    """Return what a model holds: programs of qio, or a sequence of Pulser's."""
    try:
        return msgspec.json.decode(payload, type=Sequence)
    except (msgspec.MsgspecError, RecursionError):
        return programs(payload)


async def find(call: Call, model_id: str) -> Model:
    """Return a model; raise NOT_FOUND."""
    return _models.decode(await call.desk.stored(Store.paper, WIRE, SORT, model_id))


def programs(payload: str) -> tuple[Program, ...]:
    """Return the programs of a model; raise INVALID, TOO_LARGE or UNSUPPORTED."""
    try:
        found = msgspec.json.decode(payload)
        if isinstance(found, str):
            found = msgspec.json.decode(found)
        computation = msgspec.convert(found, Computation)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise INVALID("The payload is no computation model.", why=str(error)) from error
    if computation.noise_model is not None:
        raise UNSUPPORTED("A noise model cannot be sent: a twin's noise is published figures.")
    return tuple(_program(each) for each in computation.programs)


def _program(each: Serialised) -> Program:
    known = _FORMATS.get(each.serialization_format)
    if known is None:
        name = _NAMES.get(each.serialization_format, str(each.serialization_format))
        raise UNSUPPORTED(f"Programs in {name} cannot be run on this wire.", why="Send OpenQASM.")
    if each.compression_format == _PLAIN:
        text = each.serialization
    elif each.compression_format == _ZLIB:
        text = _unpacked(each.serialization)
    else:
        raise INVALID(f"The compression {each.compression_format} is not known.")
    return Program(text, known, dialect=WIRE)  # type: ignore[arg-type]


def _unpacked(text: str) -> str:
    """Return a packed text; a bomb is unpacked to its bound and refused."""
    try:
        opener = zlib.decompressobj()
        data = opener.decompress(base64.b64decode(text, validate=True), SOURCE_BYTES_MAX + 1)
        found = data.decode()
    except (binascii.Error, zlib.error, ValueError) as error:
        raise INVALID("A program is not packed by zlib and base64.", why=str(error)) from error
    if len(data) > SOURCE_BYTES_MAX:
        raise TOO_LARGE(f"A program has at most {SOURCE_BYTES_MAX >> 20} MiB.")
    if not opener.eof:
        raise INVALID("A packed program ends before its end.")
    return found
