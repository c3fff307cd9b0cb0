"""A job's source, an archive that a stranger made: looked at before anything of it is unpacked."""

from __future__ import annotations

import io
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from skerry.kernel.errors import INVALID, TOO_LARGE

BYTES_MAX = 256 << 20
MEMBERS_MAX = 20_000
_NAME_BYTES_MAX = 1024


def check(data: bytes, entry: str) -> None:
    """Raise INVALID or TOO_LARGE unless an archive may be unpacked and has the module of `entry`.

    It holds folders and ordinary files alone, all below the folder that it is unpacked into.
    """
    names = set()
    for member in _members(data):
        names.add(PurePosixPath(member.name))
    module = entry.partition(":")[0]
    path = PurePosixPath(*module.split("."))
    wanted = (path.with_suffix(".py") if path.name else path, path / "__init__.py", path)
    if not any(each in names for each in wanted):
        raise INVALID(f"The source has no module {module[:200]}, which is the entry point.")


def unpack(data: bytes, target: Path) -> None:
    """Unpack an archive into an empty folder; raise as `check` does."""
    _members(data, target)


def _members(data: bytes, target: Path | None = None) -> list[tarfile.TarInfo]:
    found: list[tarfile.TarInfo] = []
    left = BYTES_MAX
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r|gz") as archive:
            for member in archive:
                found.append(member)
                left -= _cost(member)
                if left < 0 or len(found) > MEMBERS_MAX:
                    raise TOO_LARGE(
                        f"The source is over {BYTES_MAX >> 20} MiB or {MEMBERS_MAX} files unpacked."
                    )
                if target is not None:
                    _write(archive, member, target)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise INVALID("The source is not a tar archive packed by gzip.", why=str(error)) from error
    return found


def _cost(member: tarfile.TarInfo) -> int:
    """Return how many bytes a member is; raise INVALID if it may not be unpacked."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or len(member.name.encode()) > _NAME_BYTES_MAX:
        raise INVALID(f"The source holds {member.name[:200]!r}, which leads out of its folder.")
    if not (member.isreg() or member.isdir()):
        raise INVALID(f"{member.name[:200]!r} in the source is neither a file nor a folder.")
    return member.size


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    path = target / member.name
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(member)
    assert content is not None, "it is an ordinary file"
    path.write_bytes(content.read())
