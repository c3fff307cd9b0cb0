"""Jobs of a page: queued when it is first asked for, found again when it is loaded again."""

from __future__ import annotations

from typing import Any


def submit(queue: Any, name: str, again: int, programs: list[Any], **how: Any) -> Any:
    """Return the job of a page's part; each `again` has one of its own, with its own chances.

    The token makes a page that is loaded twice, or after the node was restarted, find its job.
    """
    return queue.submit(programs, token=f"demo/{name}/{again}", seed=again, **how)


def is_waited_for(jobs: list[Any]) -> bool:
    """Tell whether some are not over yet."""
    return any(not job.over for job in jobs)


def cost(job: Any) -> str:
    """Return what a job would cost on the machine."""
    if job.cost is None or job.cost.hardware is None:
        return "not published"
    return f"{job.cost.hardware / 1_000_000:.2f} {job.cost.currency}"
