"""The console's page of backups, and what `doctor` says of them."""

from __future__ import annotations

from typing import Any

from skerry.kernel.commands import Check
from skerry.kernel.errors import SkerryError
from skerry.node.backup import restic


async def view(visit: Any) -> dict[str, Any]:
    """Return what the page shows: the same as `skerry backup status`."""
    status = await visit.ask("backup.status")
    return {"status": status, "cli": ["skerry backup status", "skerry backup drill"]}


def checks() -> list[Check]:
    """Tell whether the engine of backups is installed."""
    try:
        found = restic.find()
    except SkerryError as error:
        return [Check("backup", False, f"{error.what}", error.hint)]
    return [Check("backup", True, f"restic is {found.path}")]
