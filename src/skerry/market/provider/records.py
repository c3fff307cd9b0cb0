"""What a provider must not forget: the leases that it serves, and their manifests.

A fold over a log of the provider's own, so that it goes on without the market: a lease that was
served before a restart is served after it, whether or not the market can be reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from skerry.market.core.names import LeaseId
from skerry.market.link import LeaseNotice


class Held(msgspec.Struct, frozen=True, tag_field="event", tag="held"):
    """A lease that this provider won, as its market `market` described it last."""

    market: str
    notice: LeaseNotice
    at: int


class Manifested(msgspec.Struct, frozen=True, tag_field="event", tag="manifested"):
    """The manifest of a group of a lease, checked against its hash."""

    lease: LeaseId
    group: dict[str, Any]
    at: int


class Ended(msgspec.Struct, frozen=True, tag_field="event", tag="ended"):
    """A lease that is over, and why, for people."""

    lease: LeaseId
    why: str
    at: int


Event = Held | Manifested | Ended
ENDED_KEPT = 1000

_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Event)


@dataclass(slots=True)
class Record:
    """A lease as its provider knows it; times are ms since 1970."""

    market: str
    notice: LeaseNotice
    since: int
    group: dict[str, Any] | None = None


class Saved(msgspec.Struct, frozen=True):
    """The records, as a snapshot keeps them."""

    leases: list[Record]
    ended: list[tuple[LeaseId, str]]


class Records:
    """The leases of a provider."""

    def __init__(self) -> None:
        self.leases: dict[LeaseId, Record] = {}
        self.ended: dict[LeaseId, str] = {}

    @classmethod
    def restored(cls, body: bytes) -> Records:
        """Return the records that were saved; raise ValueError if they are none."""
        try:
            saved = msgspec.msgpack.decode(body, type=Saved)
        except msgspec.MsgspecError as error:
            raise ValueError(str(error)) from error
        records = cls()
        records.leases = {each.notice.id: each for each in saved.leases}
        records.ended = dict(saved.ended)
        return records

    def save(self) -> bytes:
        """Return all of it, to go on from later."""
        saved = Saved(list(self.leases.values()), list(self.ended.items()))
        return msgspec.msgpack.encode(saved)

    def apply(self, body: bytes) -> None:
        """Fold one entry of the log."""
        event = _decoder.decode(body)
        if isinstance(event, Held):
            known = self.leases.get(event.notice.id)
            if known is None:
                self.leases[event.notice.id] = Record(event.market, event.notice, event.at)
            else:
                known.market, known.notice = event.market, event.notice
        elif isinstance(event, Manifested):
            if event.lease in self.leases:
                self.leases[event.lease].group = event.group
        else:
            self.leases.pop(event.lease, None)
            self.ended[event.lease] = event.why
            while len(self.ended) > ENDED_KEPT:
                del self.ended[next(iter(self.ended))]


def encode(event: Event) -> bytes:
    """Return an event's bytes."""
    return _encode(event)
