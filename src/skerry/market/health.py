"""What `skerry doctor` says of the market on this machine."""

from __future__ import annotations

from skerry.kernel.commands import Check
from skerry.kernel.errors import SkerryError
from skerry.market.sdl.tree import load_yaml


def checks() -> list[Check]:
    """Return whether deployment files can be read."""
    try:
        load_yaml()
    except SkerryError as error:
        return [Check("market files", False, error.what, error.hint)]
    return [Check("market files", True, "PyYAML is installed")]
