"""The binding of a ledger on another node: the same packed requests as at home, over HTTP.

What only asks is sent again if its connection breaks. What creates is not, though it could be: the
caller is told, and may repeat it with the same ids.
"""

from __future__ import annotations

import msgspec

from skerry.kernel.errors import ENGINE_FAILED, SkerryError, from_dict
from skerry.kernel.kind import Context
from skerry.kinds._shared.http.message import Answer, Ask
from skerry.kinds._shared.http.streaming import StreamingPool
from skerry.kinds.ledger.address import token
from skerry.kinds.ledger.binding import Ledger
from skerry.kinds.ledger.operations import BODY_MAX, SHAPES, Operation

SILENCE_SECONDS = 60.0


class RemoteLedger(Ledger):
    """A ledger on another node."""

    def __init__(self, context: Context, path: str) -> None:
        super().__init__(context)
        self._pool = StreamingPool(context.ref.name, path, context.clock, SILENCE_SECONDS)
        self._headers = {
            "authorization": f"Bearer {token(context.id, context.keys)}",
            "content-type": "application/octet-stream",
        }

    async def close(self) -> None:
        """See `Ledger.close`."""
        await self._pool.close()

    async def _send(self, operation: Operation, body: bytes) -> bytes:
        """Ask the other node."""
        target = f"/packed/{operation.value}"
        ask = Ask("POST", target, self._headers, body, not SHAPES[operation].writes)
        answer = await self._pool.ask(ask, BODY_MAX)
        if answer.status != 200:
            raise _refusal(answer)
        return answer.body


async def bind(context: Context) -> Ledger:
    """Return the binding; nothing is sent yet."""
    return RemoteLedger(context, await context.host.ready(context.ref.name))


def _refusal(answer: Answer) -> SkerryError:
    try:
        return from_dict(msgspec.json.decode(answer.body, type=dict[str, object]))
    except msgspec.DecodeError as error:
        return ENGINE_FAILED(f"The ledger answered {answer.status}.", why=str(error))
