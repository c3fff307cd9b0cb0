"""Damaged packs: which they are, and how they are set aside, so that their content is stored anew.

Old versions of the engine cannot take a pack out of use; where the store lets us, we move it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from skerry.kernel.errors import UNSUPPORTED
from skerry.node.backup.destination import Destination
from skerry.node.backup.s3 import ask

REPAIRS_ITSELF = (0, 17)
"""The first version with `repair packs`."""

_NAMED = re.compile(r"pack (?:ID does not match, want )?([0-9a-f]{8,64})", re.IGNORECASE)
_ASIDE = "damaged"


def packs(said: str, listed: Iterable[str]) -> list[str]:
    """Return the full names of the packs that a check complained of."""
    complaints = [line for line in said.splitlines() if "pack" in line.lower()]
    named = {found for line in complaints for found in _NAMED.findall(line)}
    return sorted(full for full in listed if any(full.startswith(each) for each in named))


def set_aside(destination: Destination, names: Iterable[str], now_ns: int) -> None:
    """Move packs out of the engine's sight, into a folder beside; raise UNSUPPORTED. Blocks."""
    if destination.append_only or destination.kind not in ("local", "s3"):
        raise UNSUPPORTED(
            f"Damaged packs at {destination.url} cannot be set aside from here.",
            why="The store is append-only, or restic is older than 0.17.",
            hint="Use the second store: skerry restore --store second",
        )
    for name in names:
        if destination.kind == "local":
            _move_file(Path(destination.repository), name)
        else:
            _move_object(destination, name, now_ns)


def _move_file(repository: Path, name: str) -> None:
    (repository / _ASIDE).mkdir(exist_ok=True)
    (repository / "data" / name[:2] / name).rename(repository / _ASIDE / name)


def _move_object(destination: Destination, name: str, now_ns: int) -> None:
    parts = urlsplit(destination.url)
    base = f"/{parts.netloc}/{parts.path.strip('/')}".rstrip("/")
    source, target = f"{base}/data/{name[:2]}/{name}", f"{base}/{_ASIDE}/{name}"
    for method, path, more in (
        ("PUT", target, (("x-amz-copy-source", source),)),
        ("DELETE", source, ()),
    ):
        status, answer = ask(destination, method, path, "", b"", now_ns, *more)
        if status not in (200, 204):
            raise UNSUPPORTED(
                f"The damaged pack {name[:12]} cannot be set aside.",
                why=f"{destination.endpoint} answers {status}: {answer[:200]}",
            )
