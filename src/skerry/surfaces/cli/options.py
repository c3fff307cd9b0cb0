"""The options that every command has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Options:
    """What was said by options, or nothing."""

    json: bool = False
    quiet: bool = False
    color: bool | None = None
    home: str | None = None
    node: str | None = None
