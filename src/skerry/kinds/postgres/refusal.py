"""How a client is told, in PostgreSQL's terms, that it has no session or has lost it."""

from __future__ import annotations

import logging

from skerry.kernel.errors import SkerryError
from skerry.kinds._shared.pgwire.messages import WireError
from skerry.kinds._shared.pgwire.scram import ScramError
from skerry.kinds.postgres.stream import Stream
from skerry.kinds.postgres.upstream import RefusalError

_LOG = logging.getLogger("skerry.postgres.front")


def hang_up(client: Stream, error: WireError) -> None:
    """Say why, and close."""
    if not client.lost:
        client.transport.write(error.encode())
        client.transport.close()


def refuse(client: Stream, error: Exception) -> None:
    """Say why there is no session, in the server's own words if it has said some, and close."""
    if isinstance(error, RefusalError):
        if not client.lost:
            client.transport.write(error.response)
            client.transport.close()
        return
    if not isinstance(error, WireError | SkerryError | ScramError | OSError):
        _LOG.error("a log-in failed", exc_info=error)
    hang_up(client, _in_wire_terms(error))


def _in_wire_terms(error: Exception) -> WireError:
    match error:
        case WireError():
            return error
        case SkerryError():
            return WireError.of(error)
        case ScramError():
            return WireError("28P01", f"the log-in could not be passed on: {error}")
        case TimeoutError():
            return WireError("08006", "timeout expired during the log-in")
        case OSError():
            return WireError("08006", "the connection was lost during the log-in")
    return WireError("XX000", "internal error in the node")
