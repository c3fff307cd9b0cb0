"""What a result says of itself: where it comes from, how it came about, and who signed it.

A result is signed by Ed25519 (RFC 8032) with a key that the node derives for the resource and that
never leaves it; `public_key` is what anybody checks signatures with.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from skerry.kernel.kind import Context
from skerry.kinds.quantum import twins
from skerry.kinds.quantum.catalogue.model import Calibration, Device
from skerry.kinds.quantum.contract import Job, JobRequest, Program, Provenance, Result

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_PURPOSE = "results-ed25519"
_encoder = msgspec.json.Encoder(order="deterministic")


class Run(NamedTuple):
    """One execution that is done: its number, program and seed, when it began, and for how long."""

    number: int
    program: Program
    seed: int
    started: int
    seconds: float


def nature(device: Device, request: JobRequest) -> str:
    """Say what a result comes from; a twin is called a twin."""
    if request.provider != "twin":
        return (
            f"{device.name} itself, by {request.provider}; "
            "this way was not tried against the vendor when it was written"
        )
    if twins.is_limited(device):
        return (
            f"simulation within the limits of {device.name}, with the noise that the program "
            "names; not the hardware, whose errors are not published"
        )
    if device.paradigm == "photonic":
        return "simulation on this node, with the noise that the program names"
    if device.id == twins.DENSITY:
        return "simulation on this node, without noise but for what the program names"
    if device.status == "local":
        return "simulation without noise on this node"
    if request.options.fidelity == "ideal":
        return f"simulation without noise of a circuit compiled for {device.name}; not the hardware"
    return f"twin of {device.name}, a model made of published figures; not the hardware"


def seed_of(job: Job) -> int:
    """Return the seed of a job: its own, or one that follows from its id."""
    if job.request.options.seed is not None:
        return job.request.options.seed % (1 << 63)
    return int.from_bytes(hashlib.sha256(job.id.encode()).digest()[:7])


def made(
    context: Context,
    job: Job,
    run: Run,
    found: dict[str, Any],
    device: tuple[Device, Calibration | None, int],
) -> Result:
    """Return the signed result of an execution from what the engine or the vendor said."""
    is_twin = job.request.provider == "twin"
    provenance = Provenance(
        nature=job.nature,
        device=device[0].id,
        engine=found["engine"],
        engine_reason=found["reason"],
        seed=run.seed,
        versions=found["versions"],
        program_sha256=hashlib.sha256(run.program.source.encode()).hexdigest(),
        compiled=found["compiled"],
        layout=tuple(found["layout"]),
        calibration=twins.calibrated(*device) if is_twin else None,
        pessimism=job.request.options.pessimism,
        node=context.node or context.url,
        started=run.started,
        seconds=round(run.seconds, 6),
        notes=_notes(job),
    )
    result = Result(
        execution=run.number,
        shots=found.get("shots", job.request.shots_of(run.program)),
        counts=found["counts"],
        registers=tuple((name, start, size) for name, start, size in found["registers"]),
        measured=tuple(found["measured"]),
        provenance=provenance,
        memory=tuple(found.get("memory", ())),
        extra={name: found[name] for name in ("pragmas", "values", "photons") if found.get(name)},
    )
    signed = msgspec.structs.replace(provenance, signature=sign(result, context))
    return msgspec.structs.replace(result, provenance=signed)


def _notes(job: Job) -> tuple[str, ...]:
    options = job.request.options
    if options.pessimism == 1.0 or options.fidelity == "ideal" or job.request.provider != "twin":
        return ()
    return (f"Published error rates are multiplied by {options.pessimism:g}.",)


def _content(result: Result) -> bytes:
    bare = msgspec.structs.replace(result.provenance, signature="")
    return _encoder.encode(msgspec.structs.replace(result, provenance=bare))


def _key(context: Context) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 (the node's start)

    seed = hashlib.sha256(context.keys.secret(_PURPOSE, 42).encode()).digest()
    return ed25519.Ed25519PrivateKey.from_private_bytes(seed)


def public_key(context: Context) -> str:
    """Return the key that signatures are checked with, in hexadecimal."""
    return _key(context).public_key().public_bytes_raw().hex()


def sign(result: Result, context: Context) -> str:
    """Return the signature of a result without its own signature, in hexadecimal."""
    return _key(context).sign(_content(result)).hex()


def digest(result: Result) -> str:
    """Return the SHA-256 of what is signed of a result, in hexadecimal."""
    return hashlib.sha256(_content(result)).hexdigest()


def is_signed(result: Result, key: str) -> bool:
    """Tell whether a result is as it was when the holder of a public key signed it."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    try:
        public = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
        public.verify(bytes.fromhex(result.provenance.signature), _content(result))
    except (InvalidSignature, ValueError):
        return False
    return True
