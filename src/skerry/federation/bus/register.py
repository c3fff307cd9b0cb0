"""Leases in JetStream: a key-value bucket whose stream is made by hand, changed by compare-and-set.

The stream is what NATS' own tools show as the bucket `leases`. A client library's word for making a
bucket is not used: one was seen to drop the place that it was given.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from urllib.parse import quote, unquote

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from skerry.federation.bus.client import DIGEST, Client, checked
from skerry.federation.bus.streams import Stream
from skerry.kernel.errors import STORE_UNREACHABLE, SkerryError
from skerry.kernel.lease import Slot

STREAM = Stream("KV_leases", ("$KV.leases.>",), bytes_max=64 << 20, last_only=True)
WRITE_SECONDS = 2.0
HEARTBEAT_SECONDS = 2.0
SILENCE_SECONDS = 5.0
AGAIN_SECONDS = 0.5

_PREFIX = "$KV.leases."
_NANOSECONDS = 1_000_000_000


def subject_of(name: str) -> str:
    """Return the subject on which a lease is kept; no letter of its name has a meaning in it."""
    plain = quote(name, safe="").replace(".", "%2E").replace("~", "%7E")
    return _PREFIX + plain.replace("%", "=")


def name_of(subject: str) -> str:
    """Return the name of the lease that is kept on a subject."""
    return unquote(subject.removeprefix(_PREFIX).replace("=", "%"))


class StreamRegister:
    """Implements the kernel's `Register`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def read(self, subject: str) -> Slot | None:
        """See `Register.read`: the stream's leader answers."""
        found = await self._client.last(STREAM.name, subject_of(subject))
        return Slot(found[1], found[0]) if found else None

    async def write(self, subject: str, data: bytes, revision: int) -> int:
        """See `Register.write`: acknowledged when most copies have synced it."""
        expected = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
        return await self._client.append(subject_of(subject), data, expected, WRITE_SECONDS)

    async def watch(self) -> AsyncIterator[tuple[str, Slot]]:
        """See `Register.watch`: by a consumer that is made anew when its server falls silent."""
        seen: dict[str, int] = {}
        while True:
            try:
                async with contextlib.aclosing(self._consume()) as found:
                    async for subject, slot in found:
                        if seen.get(subject, 0) < slot.revision:
                            seen[subject] = slot.revision
                            yield subject, slot
            except SkerryError as error:
                if not error.problem.temporary:
                    raise
            await asyncio.sleep(AGAIN_SECONDS)

    async def _consume(self) -> AsyncGenerator[tuple[str, Slot], None]:
        """Yield the last value of each subject, and what follows, until nothing more comes."""
        inbox = self._client.inbox()
        subscription = await self._client.subscribe(inbox)
        try:
            config = {
                "deliver_subject": inbox,
                "deliver_policy": "last_per_subject",
                "filter_subject": STREAM.subjects[0],
                "ack_policy": "none",
                "replay_policy": "instant",
                "idle_heartbeat": int(HEARTBEAT_SECONDS * _NANOSECONDS),
                "inactive_threshold": int(SILENCE_SECONDS * _NANOSECONDS),
                "mem_storage": True,
                "num_replicas": 1,
            }
            asked = {"stream_name": STREAM.name, "config": config}
            await self._client.api(f"CONSUMER.CREATE.{STREAM.name}", asked)
            while True:
                message = await _next(subscription)
                headers = message.headers or {}
                if "Status" not in headers:  # a heartbeat has one
                    data = checked(message.data, headers.get(DIGEST))
                    number = message.metadata.sequence.stream
                    yield name_of(message.subject), Slot(data, number)
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()


async def _next(subscription: Subscription) -> Msg:
    try:
        return await subscription.next_msg(SILENCE_SECONDS)
    except (nats.errors.Error, TimeoutError) as error:
        raise STORE_UNREACHABLE("The bus has fallen silent.", why=f"{error!r}") from error
