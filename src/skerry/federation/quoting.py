"""TPM quotes: a machine's security chip signs what it booted, bound to a node's key.

The node runs `tpm2_quote` of tpm2-tools with an attestation key that the operator made in the TPM;
the other side runs `tpm2_checkquote` with the public key that is registered for the host, as a fact
`tpm_key` (the SHA-256 of its PEM) with a document or an attestation behind it. The number that is
signed is over the verifier's own and the node's key, so that a quote of another machine is none.

This was tried with programs that stand in for tpm2-tools, and with no TPM.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from skerry.kernel.errors import CONFLICT, ENGINE_FAILED, TIMED_OUT, UNAUTHENTICATED, UNSUPPORTED

REGISTERS = "sha256:0,1,2,3,4,5,6,7"
"""The platform configuration registers of firmware and boot loader."""

SECONDS = 30.0
FILE_BYTES_MAX = 64 * 1024


class Challenge(msgspec.Struct, frozen=True):
    """A number that nobody could guess."""

    nonce: bytes


class Quote(msgspec.Struct, frozen=True):
    """What tpm2_quote wrote, and the public half of the key that signed it (PEM)."""

    message: bytes
    signature: bytes
    registers: bytes
    key: bytes

    @property
    def digest(self) -> str:
        """The SHA-256 of the registers' values."""
        return hashlib.sha256(self.registers).hexdigest()


def bound_to(nonce: bytes, node_key: bytes) -> str:
    """Return what the TPM signs: a digest over the verifier's number and the node's key."""
    return hashlib.sha256(b"skerry quote v1\n" + nonce + node_key).hexdigest()


async def quote(handle: str, nonce: bytes, node_key: bytes) -> Quote:
    """Let this machine's TPM sign; raise UNSUPPORTED without tpm2-tools or a key in the TPM."""
    if not handle:
        raise UNSUPPORTED(
            "This node has no key in a TPM.",
            why="Its config.toml names none (tpm-handle).",
            hint="skerry docs config",
        )
    with _folder() as folder:
        key, message, signature, values = (folder / x for x in ("ak.pem", "msg", "sig", "pcrs"))
        await _run("tpm2_readpublic", "-c", handle, "-f", "pem", "-o", str(key))
        await _run(
            "tpm2_quote", "-c", handle, "-l", REGISTERS, "-q", bound_to(nonce, node_key),
            "-m", str(message), "-s", str(signature), "-o", str(values), "-g", "sha256",
        )  # fmt: skip
        return Quote(*(_read(path) for path in (message, signature, values, key)))


async def check(found: Quote, nonce: bytes, node_key: bytes, registered: str) -> None:
    """Raise unless a quote answers a challenge, with the key that is registered for the host.

    Raises CONFLICT for another key, UNAUTHENTICATED if tpm2_checkquote refuses it, UNSUPPORTED
    without tpm2-tools.
    """
    if hashlib.sha256(found.key).hexdigest() != registered:
        raise CONFLICT("The TPM's key is not the one that is registered for that host.")
    with _folder() as folder:
        paths = {name: folder / name for name in ("key", "message", "signature", "registers")}
        for name, path in paths.items():
            path.write_bytes(getattr(found, name))
        try:
            await _run(
                "tpm2_checkquote", "-u", str(paths["key"]), "-m", str(paths["message"]),
                "-s", str(paths["signature"]), "-f", str(paths["registers"]), "-g", "sha256",
                "-q", bound_to(nonce, node_key),
            )  # fmt: skip
        except Exception as error:
            if getattr(error, "problem", None) is ENGINE_FAILED:
                raise UNAUTHENTICATED("The quote does not hold.", why=str(error)) from error
            raise


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="skerry-tpm-") as made:
        yield Path(made)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(FILE_BYTES_MAX)


async def _run(program: str, *words: str) -> None:
    path = shutil.which(program)
    if path is None:
        raise UNSUPPORTED(f"{program} is not installed.", hint="apt-get install tpm2-tools")
    child = await asyncio.create_subprocess_exec(
        path,
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SECONDS):
            _, errors = await child.communicate()
    except TimeoutError as error:
        raise TIMED_OUT(f"{program} took longer than {SECONDS:g} s.") from error
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        why = errors.decode(errors="replace").strip()[-500:]
        raise ENGINE_FAILED(f"{program} failed with {child.returncode}.", why=why)
