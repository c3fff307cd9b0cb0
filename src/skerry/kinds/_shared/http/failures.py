"""What a client says when the node that holds a resource does not answer as it should."""

from __future__ import annotations

from skerry.kernel.errors import BUSY, NODE_UNREACHABLE, TOO_LARGE, SkerryError

HINT = "skerry nodes"


def unreachable(name: str, why: str, *, sent: bool, repeatable: bool) -> SkerryError:
    """Return the error for a node that went away; `sent` tells that the request may have come."""
    if sent and not repeatable:
        why = f"{why} The request had been sent: it may have been carried out."
    return NODE_UNREACHABLE(f"The node that holds {name} does not answer.", why=why, hint=HINT)


def all_in_use(name: str, connections: int) -> SkerryError:
    """Return the error for a caller that found no free connection in time."""
    return BUSY(f"All {connections} connections to the node that holds {name} are in use.")


def too_large(name: str, limit: int) -> SkerryError:
    """Return the error for an answer beyond a limit in bytes."""
    return TOO_LARGE(f"The answer of {name} is larger than {limit} bytes.")
