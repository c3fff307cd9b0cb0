"""Programs in the formats that targets take, as programs of the neutral job."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from skerry.kernel.errors import INVALID, TOO_LARGE, UNSUPPORTED
from skerry.kinds.quantum.checks import SOURCE_BYTES_MAX
from skerry.kinds.quantum.contract import Level, Program
from skerry.kinds.quantum.wires.azure import quil
from skerry.kinds.quantum.wires.azure.blobs import Blob
from skerry.kinds.quantum.wires.azure.names import WIRE
from skerry.kinds.quantum.wires.azure.targets import Target
from skerry.kinds.quantum.wires.frame import Call
from skerry.kinds.quantum.wires.ionq import circuits

_GZIP = 16 + zlib.MAX_WBITS
_BITCODE = (b"BC\xc0\xde", b"\xde\xc0\x17\x0b")
"""What LLVM's bitcode begins with, bare and wrapped."""


class Read(NamedTuple):
    """What came: programs, and how far they were compiled."""

    programs: tuple[Program, ...]
    level: Level = "logical"


class _Circuit(msgspec.Struct, frozen=True):
    """IonQ's JSON."""

    circuit: list[Any]
    qubits: int
    gateset: str = "qis"


class _Sequence(msgspec.Struct, frozen=True):
    """What Pasqal's targets take: Pulser's abstract JSON in a text."""

    sequence_builder: str


async def source(call: Call, blob: Blob) -> bytes:
    """Return a blob's bytes as they are read: unzipped, and bitcode as text."""
    data = await asyncio.to_thread(unpacked, blob)
    if data.startswith(_BITCODE):
        return (await call.desk.disassemble(data)).encode()
    return data


def unpacked(blob: Blob) -> bytes:
    """Return a blob's bytes, unzipped within the bound of programs if they are zipped."""
    if blob.encoding.lower() != "gzip":
        if blob.size > SOURCE_BYTES_MAX:
            raise TOO_LARGE(f"A program has at most {SOURCE_BYTES_MAX >> 20} MiB.")
        return blob.data
    opener = zlib.decompressobj(_GZIP)
    try:
        data = opener.decompress(blob.data, SOURCE_BYTES_MAX + 1)
    except zlib.error as error:
        raise INVALID("The program is not gzip, as its blob says.", why=str(error)) from error
    if len(data) > SOURCE_BYTES_MAX:
        raise TOO_LARGE(f"A program has at most {SOURCE_BYTES_MAX >> 20} MiB.")
    if not opener.eof:
        raise INVALID("The program ends in the middle of its gzip.")
    return data


def read(data: bytes, form: str, target: Target, params: dict[str, Any]) -> Read:
    """Return a program; raise INVALID or UNSUPPORTED for one that the target does not take."""
    fitting = [name for name in _READERS if name.startswith(f"{_MAKER[target.provider]}.")]
    if target.provider != "pasqal":
        fitting.append("qir.v1")
    if form not in fitting:
        raise INVALID(
            f"{target.name} takes no programs in {form[:60]!r}.", why=f"It takes {fitting}."
        )
    return _READERS[form](data, target, params)


def text(data: bytes) -> str:
    """Return a program's text; raise INVALID."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise INVALID("The program is no text in UTF-8.", why=str(error)) from error


def _ionq(data: bytes, target: Target, params: dict[str, Any]) -> Read:
    asked = msgspec.json.decode(data, type=_Circuit)
    made = circuits.circuit(asked.circuit, asked.qubits, asked.gateset)
    program = Program(msgspec.json.encode(made).decode(), format="circuit", dialect=WIRE)
    is_native = asked.gateset == "native" and target.fidelity != "ideal"
    return Read((program,), "verbatim" if is_native else "logical")


def _quantinuum(data: bytes, target: Target, params: dict[str, Any]) -> Read:
    return Read((Program(text(data), format="openqasm2", dialect=WIRE),))


def _qir(data: bytes, target: Target, params: dict[str, Any]) -> Read:
    entries = params.get("items") or [{}]
    if not isinstance(entries, list) or len(entries) != 1 or not isinstance(entries[0], dict):
        raise UNSUPPORTED("A job runs one entry point here; send a job for each.")
    if params.get("arguments") or entries[0].get("arguments"):
        raise UNSUPPORTED("An entry point takes no arguments here; compile them in.")
    return Read((Program(text(data), format="qir", dialect=WIRE),))


def _rigetti(data: bytes, target: Target, params: dict[str, Any]) -> Read:
    if params.get("skipQuilc"):
        raise UNSUPPORTED(
            "Quil is compiled for the twin here.",
            why="What must run as it is goes to the machine's twin by Amazon Braket's wire.",
        )
    made = quil.circuits(text(data), params.get("substitutions") or {})
    texts = [msgspec.json.encode(each).decode() for each in made]
    return Read(tuple(Program(each, format="circuit", dialect=WIRE) for each in texts))


def _pasqal(data: bytes, target: Target, params: dict[str, Any]) -> Read:
    asked = msgspec.json.decode(data, type=_Sequence)
    return Read((Program(asked.sequence_builder, format="pulser", dialect=WIRE),))


_MAKER = {
    "ionq": "ionq",
    "pasqal": "pasqal",
    "quantinuum": "honeywell",
    "rigetti": "rigetti",
}
_READERS: dict[str, Callable[[bytes, Target, dict[str, Any]], Read]] = {
    "ionq.circuit.v1": _ionq,
    "honeywell.openqasm.v1": _quantinuum,
    "qir.v1": _qir,
    "rigetti.quil.v1": _rigetti,
    "pasqal.pulser.v1": _pasqal,
}
