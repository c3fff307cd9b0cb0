"""Words that act on this machine without a node: volumes, and new kinds."""

from __future__ import annotations

import keyword
import re
import shutil
from pathlib import Path
from typing import Any

import click

from skerry.kernel.errors import ALREADY_EXISTS, CONFLICT, INVALID, NOT_FOUND
from skerry.kernel.names import check_name
from skerry.surfaces.cli.base import SkerryCommand
from skerry.surfaces.cli.call import Call
from skerry.surfaces.cli.stop import in_use
from skerry.surfaces.installed import kinds_folder
from skerry.surfaces.units import size

_TEMPLATE = "kinds/hello"
_SIZE = re.compile(r"(\d+)\s*([KMGT])i?B?", re.IGNORECASE)
_FACTORS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_USUAL_BYTES = 20 << 30


class _Size(click.ParamType[int]):
    """A size such as 20G."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes in a text such as `512M`."""
        if isinstance(value, int):
            return value
        found = _SIZE.fullmatch(value)
        if found is None:
            self.fail(f"{value!r} is not a size such as 512M or 20G", param, ctx)
        return int(found[1]) * _FACTORS[found[2].upper()]


def _tell(call: Call, message: str, **shape: Any) -> None:
    if call.out.json:
        call.out.data(shape)
    else:
        call.out.result(f"{call.out.styled('✓', 'green')} {message}")


def _refuse_while_running(call: Call) -> None:
    """Raise CONFLICT if a node uses the home."""
    if in_use(call.home / "node.pid"):
        raise CONFLICT("A node uses this volume.", hint="skerry stop")


def _image(call: Call, image: str | None) -> Path:
    return Path(image) if image else call.home / "volume.img"


@click.command("create", cls=SkerryCommand)
@click.argument("image", required=False, type=click.Path(dir_okay=False))
@click.option("--size", "size_bytes", type=_Size(), help="such as 20G")
@click.option("--filesystem", help="btrfs or xfs, which clone (default btrfs)")
@click.option("--encrypted", is_flag=True, help="ext4 that encrypts each app's state under its key")
@click.pass_obj
def volume_create(
    call: Call, image: str | None, size_bytes: int | None, filesystem: str | None, encrypted: bool
) -> None:
    """Make a file that holds a file system which can clone, and mount it as the node's volume.

    It takes space only as it fills. Needs root. Without IMAGE, volume.img in the node's home. With
    --encrypted it holds one that encrypts instead, where branches are copies.
    """
    from skerry.node.volume import create_image, move_in  # noqa: PLC0415 (not for help)

    path, place = _image(call, image), call.home / "volume"
    _refuse_while_running(call)
    if path.exists():
        _require_alike(path, size_bytes, "ext4" if encrypted else filesystem)
    else:
        chosen = _filesystem(place, filesystem, encrypted=encrypted)
        create_image(path, size_bytes or _USUAL_BYTES, chosen)
    moved, size_bytes = move_in(path, place), path.stat().st_size
    message = f"{path} holds up to {size(size_bytes)} and is mounted at {place}."
    if moved:
        message += f" {moved} branches were copied into it; {place}.before still has them."
    _tell(call, message, image=str(path), bytes=size_bytes, mountpoint=str(call.home / "volume"))


def _require_alike(path: Path, size_bytes: int | None, filesystem: str | None) -> None:
    """Raise CONFLICT if an image that is there is another than the one asked for.

    One that is alike is no error: a `create` that was cut off can be given again.
    """
    from skerry.node.volume import image_filesystem  # noqa: PLC0415 (not for help)

    held, found = path.stat().st_size, image_filesystem(path)
    if size_bytes in (None, held) and filesystem in (None, found):
        return
    raise CONFLICT(
        f"There is a volume {path} already, of {found} with {size(held)}.",
        why="A volume that was made keeps its size and its file system.",
        hint="skerry volume attach mounts it as it is.",
    )


def _filesystem(place: Path, chosen: str | None, *, encrypted: bool) -> str:
    """Return which file system to make. Raises INVALID, and CONFLICT if branches lie in the clear.

    Copies of those would be in the clear too, and what the disk keeps of the originals.
    """
    if not encrypted:
        return chosen or "btrfs"
    if chosen not in (None, "ext4"):
        raise INVALID(f"{chosen} does not encrypt directories.", hint="Leave --filesystem out.")
    if place.is_dir() and any(place.iterdir()):
        raise CONFLICT(
            "Branches lie here already, and not encrypted.",
            why="What is encrypted is what is made after this.",
            hint="Export the apps, begin with a new home, and import them there.",
        )
    return "ext4"


@click.command("attach", cls=SkerryCommand)
@click.argument("image", required=False, type=click.Path(dir_okay=False))
@click.pass_obj
def volume_attach(call: Call, image: str | None) -> None:
    """Mount a volume at its place in the node's home. Needs root."""
    from skerry.node.volume import attach  # noqa: PLC0415 (not for help)

    path, place = _image(call, image), call.home / "volume"
    attach(path, place)
    _tell(call, f"{path} is mounted at {place}.", image=str(path), mountpoint=str(place))


@click.command("detach", cls=SkerryCommand)
@click.pass_obj
def volume_detach(call: Call) -> None:
    """Unmount the volume of the node's home. Needs root, and no running node."""
    from skerry.node.volume import detach  # noqa: PLC0415 (not for help)

    _refuse_while_running(call)
    place = call.home / "volume"
    detach(place)
    _tell(call, f"Nothing is mounted at {place}.", mountpoint=str(place))


@click.command("new", cls=SkerryCommand)
@click.argument("name")
@click.option("--into", metavar="FOLDER", help="by default the folder of kinds")
@click.pass_obj
def kind_new(call: Call, name: str, into: str | None) -> None:
    """Start a kind: a copy of the template with its name replaced.

    A kind is one folder: manifest, engine, wire, binding, tests. Nothing else is edited.
    """
    check_name(name, "a kind")
    if "-" in name or keyword.iskeyword(name):
        raise INVALID(f"{name!r} cannot name a kind.", why="Its folder is a Python package.")
    template = kinds_folder().parent / _TEMPLATE
    if not template.is_dir():
        raise NOT_FOUND(f"The template is not installed: {template}.")
    target = (Path(into) if into else kinds_folder()) / name
    if target.exists():
        raise ALREADY_EXISTS(f"{target} exists already.")
    written = copy_renamed(template, target, template.name, name)
    _tell(call, f"{target} is a new kind; start with manifest.py.", path=str(target), files=written)


def copy_renamed(template: Path, target: Path, old: str, new: str) -> list[str]:
    """Copy a folder's text files and replace a name in them, in every spelling that code has."""
    spellings = {
        old: new,
        old.capitalize(): new.capitalize(),
        old.upper(): new.upper(),
    }
    written = []
    unfinished = target.with_name(f".{target.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    for path in sorted(template.rglob("*")):
        if path.is_dir() or "__pycache__" in path.parts:
            continue
        text, place = path.read_text(), path.relative_to(template).as_posix()
        for word, other in spellings.items():
            text, place = text.replace(word, other), place.replace(word, other)
        written.append(place)
        (unfinished / place).parent.mkdir(parents=True, exist_ok=True)
        (unfinished / place).write_text(text)
    unfinished.rename(target)
    return written
