"""`skerry export` and `skerry import`: state in standard formats, as a tar archive or a folder."""

from __future__ import annotations

import os
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from skerry.kernel.errors import ALREADY_EXISTS, CORRUPT, INVALID
from skerry.surfaces.cli.base import SkerryCommand
from skerry.surfaces.cli.call import Call
from skerry.surfaces.cli.deploy import counted
from skerry.surfaces.units import size

_BLOCK_BYTES = 1 << 20


@click.command(cls=SkerryCommand)
@click.argument("name", required=False)
@click.option("--output", "-o", metavar="FILE", help="the archive to write; - is stdout")
@click.option("--unpack", metavar="FOLDER", help="write files to a new folder instead")
@click.option("--sealed", is_flag=True, help="encrypted under the app's data key")
@click.option("--app", help="the app; by default the one whose folder you are in")
@click.option("--branch", help="the branch; by default the one checked out, else main")
@click.pass_obj
def export(
    call: Call,
    *,
    name: str | None,
    output: str | None,
    unpack: str | None,
    sealed: bool,
    app: str | None,
    branch: str | None,
) -> None:
    """Save a resource, or all of a branch, in standard formats.

    \b
    API: POST /v1/resource.export, then GET /v1/downloads/<id>
    """
    if output and unpack:
        raise INVALID("--output and --unpack exclude each other.")
    if sealed and unpack:
        raise INVALID("What is sealed cannot be unpacked here.", hint="skerry import FILE")
    app, branch = app or call.app(), branch or call.branch()
    parts = [app, *([branch] if branch else []), *([name] if name else [])]
    ending = "sealed" if sealed else "tar"
    target = Path(unpack or output or f"{'-'.join(parts)}.{ending}")
    to_stdout = output == "-"
    option = "--unpack" if unpack else "--output"
    if not to_stdout and target.exists():
        raise ALREADY_EXISTS(f"{target} exists already.", hint=f"Name another with {option}.")
    given = {"app": app, "name": name, "branch": branch, "sealed": sealed}
    params = {key: value for key, value in given.items() if value}
    with call.out.steps() as steps:
        found = call.client.call("resource.export", params, steps)
        chunks = counted_in(call.client.download(found["download"]), steps)
        if to_stdout:
            for chunk in chunks:
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            return
        received = _unpack(chunks, target) if unpack else _save(chunks, target)
    _tell(call, target, received, found["resources"])


def _tell(call: Call, target: Path, received: int, resources: list[str]) -> None:
    if call.out.json:
        call.out.data({"path": str(target), "bytes": received, "resources": resources})
        return
    names = ", ".join(resources) or "nothing"
    sign = call.out.styled("✓", "green")
    call.out.result(f"{sign} {target} holds {names} ({size(received)})")


def counted_in(chunks: Iterator[bytes], report: Callable[[int, int, str], None]) -> Iterator[bytes]:
    """Pass chunks on and report how much has come."""
    received = 0
    for chunk in chunks:
        received += len(chunk)
        report(0, 0, f"receiving, {size(received)}" if received > 1 << 20 else "receiving")
        yield chunk


def _save(chunks: Iterator[bytes], target: Path) -> int:
    """Write an archive, whole or not at all; return its size."""
    unfinished = target.with_name(f".{target.name}.part")
    try:
        with unfinished.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            received = file.tell()
        unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return received


def _unpack(chunks: Iterator[bytes], target: Path) -> int:
    """Write the files of an archive to a new folder; return the archive's size."""
    from skerry.node.archives import unpack  # noqa: PLC0415 (not for help)

    with tempfile.NamedTemporaryFile() as file:
        for chunk in chunks:
            file.write(chunk)
        received = file.tell()
        file.flush()
        target.mkdir(parents=True)
        try:
            unpack(Path(file.name), target)
        except tarfile.TarError as error:
            raise CORRUPT("The export is no tar archive.", why=f"{error}.") from error
    return received


@click.command("import", cls=SkerryCommand)
@click.argument("source", type=click.Path(exists=True))
@click.argument("name", required=False)
@click.option("--app", help="the app; by default the one whose folder you are in")
@click.option("--branch", help="the branch; by default the one checked out, else main")
@click.pass_obj
def import_(
    call: Call, *, source: str, name: str | None, app: str | None, branch: str | None
) -> None:
    """Load what was exported: a tar archive, or a folder with its files.

    It replaces the state of a resource, or of all that the export holds.

    \b
    API: POST /v1/uploads, then POST /v1/resource.import
    """
    from skerry.surfaces.cli.derive import perform  # noqa: PLC0415 (not for help)
    from skerry.surfaces.cli.tree import node_command  # noqa: PLC0415

    app, branch = app or call.app(), branch or call.branch()
    with call.out.steps() as steps:
        upload = call.client.upload(counted(_chunks(Path(source)), steps))
    params = {"upload": upload, "app": app} | ({"name": name} if name else {})
    perform(call, node_command("resource.import"), params | ({"branch": branch} if branch else {}))


def _chunks(source: Path) -> Iterator[bytes]:
    if source.is_dir():
        from skerry.surfaces.cli.pack import pack  # noqa: PLC0415 (only for folders)

        yield from pack(source, defaults=())
        return
    with source.open("rb") as file:
        while chunk := file.read(_BLOCK_BYTES):
            yield chunk
