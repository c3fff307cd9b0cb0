"""Which holder a declaration means."""

from __future__ import annotations

from pathlib import Path

from skerry.node.keys.holders import FolderHolder, Holder, HolderSpec


def open_holder(spec: HolderSpec) -> Holder:
    """Return the holder that a declaration means; nothing is asked of it yet."""
    if spec.kind == "transit":
        from skerry.node.keys.transit import TransitHolder  # noqa: PLC0415 (only where it is used)

        return TransitHolder(spec)
    if spec.kind == "age":
        from skerry.node.keys.age import AgeHolder  # noqa: PLC0415 (an extra)

        return AgeHolder(Path(spec.path))
    return FolderHolder(Path(spec.path))
