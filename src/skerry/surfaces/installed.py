"""What is installed: kinds and services, found by their folders without importing them.

A kind is a folder of `skerry.kinds` with a `manifest.py`. A service is a folder with a
`service.py`; it may be a layer of its own, a part of the node, or a kind's.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.kernel.manifest import Manifest
    from skerry.kernel.service import Service

_PACKAGE = Path(__file__).parents[1]
_PLACES = ("market", "federation", "node/*", "kinds/*")


def kinds_folder() -> Path:
    """Return the folder with one folder a kind."""
    return _PACKAGE / "kinds"


@cache
def kind_names() -> list[str]:
    """Return the name of every kind."""
    return sorted(each.parent.name for each in kinds_folder().glob("[!_]*/manifest.py"))


def kind_packages() -> list[str]:
    """Return the package of every kind."""
    return [f"skerry.kinds.{name}" for name in kind_names()]


@cache
def service_folders() -> dict[str, Path]:
    """Return the folder of every service by its name."""
    found = [each.parent for place in _PLACES for each in _PACKAGE.glob(f"{place}/service.py")]
    assert len({each.name for each in found}) == len(found), "two services have one name"
    return {each.name: each for each in sorted(found, key=lambda each: each.name)}


def service_packages() -> list[str]:
    """Return the package of every service."""
    return [_package(folder) for folder in service_folders().values()]


def _package(folder: Path) -> str:
    return ".".join(("skerry", *folder.relative_to(_PACKAGE).parts))


def manifest(kind: str) -> Manifest:
    """Import the manifest of a kind."""
    from skerry.kernel.manifest import read_manifests  # noqa: PLC0415 (not for help)

    return read_manifests([f"skerry.kinds.{kind}"])[kind]


def manifests() -> list[Manifest]:
    """Import the manifest of every kind."""
    return [manifest(name) for name in kind_names()]


def service(name: str) -> Service:
    """Import the declaration of a service."""
    from skerry.kernel.service import read_services  # noqa: PLC0415 (not for help)

    return read_services([_package(service_folders()[name])])[name]


def services() -> list[Service]:
    """Import the declaration of every service."""
    return [service(name) for name in service_folders()]
