"""When the node runs `scheduled` of a function."""

from __future__ import annotations

from skerry.kernel.manifest import Schedule
from skerry.kinds.functions.config import FunctionsConfig


def schedules(config: FunctionsConfig) -> list[Schedule]:
    """Return one schedule for each cron expression of the function."""
    return [Schedule(cron, "trigger", {"cron": cron}) for cron in config.crons]
