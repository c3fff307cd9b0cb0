"""What a file asks for, as the market and the providers use it."""

from __future__ import annotations

from typing import Any

import msgspec


class Attribute(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A named property."""

    key: str
    value: str


class Endpoint(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A way in: kind 0 is the shared HTTP ingress, 1 a port of its own, 2 a leased address."""

    kind: int
    sequence_number: int


class Volume(msgspec.Struct, frozen=True):
    """Storage: its size, and its class and persistence as attributes."""

    name: str
    size_bytes: int
    attributes: tuple[Attribute, ...] = ()

    @property
    def storage_class(self) -> str:
        """The class; storage without one lives and ends with the lease."""
        return next((each.value for each in self.attributes if each.key == "class"), "ephemeral")


class Resources(msgspec.Struct, frozen=True):
    """What one replica needs."""

    id: int
    cpu_milli: int
    memory_bytes: int
    storage: tuple[Volume, ...]
    gpu_units: int = 0
    cpu_attributes: tuple[Attribute, ...] = ()
    gpu_attributes: tuple[Attribute, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()


class ResourceUnit(msgspec.Struct, frozen=True):
    """Replicas of the same size, and the most that a block of one of them may cost."""

    resources: Resources
    count: int
    denom: str
    amount: str


class GroupSpec(msgspec.Struct, frozen=True):
    """What must be placed together: one placement of a file."""

    name: str
    resources: tuple[ResourceUnit, ...]
    attributes: tuple[Attribute, ...] = ()
    signed_by_all: tuple[str, ...] = ()
    signed_by_any: tuple[str, ...] = ()


class Sdl(msgspec.Struct, frozen=True):
    """A file: its groups in the order of their names, its manifest, and the manifest's hash."""

    version: str
    groups: tuple[GroupSpec, ...]
    manifest: list[dict[str, Any]]
    manifest_hash: str
    reclamation_seconds: int = 0

    @property
    def images(self) -> tuple[str, ...]:
        """Every image that the manifest names, in order."""
        found = {each["image"]: None for group in self.manifest for each in group["services"]}
        return tuple(found)
