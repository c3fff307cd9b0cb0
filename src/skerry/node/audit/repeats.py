"""Which decisions were written not long ago, so that the same again is counted, not repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from skerry.kernel.policy import Decision, Request
from skerry.node.audit.entries import of_decision

REPEAT_SECONDS = 600.0
REPEATS_MAX = 1000
_DIGEST_BYTES = 16

_encode = msgspec.msgpack.Encoder().encode


@dataclass(slots=True)
class _Written:
    """When a decision was written, and how often it came again since; it is kept only then."""

    since: float
    count: int = 0
    again: tuple[Request, Decision] | None = None

    def said(self) -> dict[str, Any] | None:
        """Return what to write of it, if it came again."""
        return None if self.again is None else of_decision(*self.again, self.count)


class Repeats:
    """The decisions of the last ten minutes, each by a digest of what makes it the same.

    A digest each, because most never come again: a node that makes a thousand branches in a minute
    must not keep a thousand decisions with all their facts.
    """

    def __init__(self) -> None:
        self._written: dict[bytes, _Written] = {}

    def __len__(self) -> int:
        return len(self._written)

    def take(
        self, request: Request, decision: Decision, now: float
    ) -> tuple[bool, dict[str, Any] | None]:
        """Take a decision; return whether it is to be written, and what is to be said before it.

        `now` is monotonic, in seconds.
        """
        key = _digest(request, decision)
        known = self._written.get(key)
        if known is not None and now - known.since < REPEAT_SECONDS:
            known.count += 1
            known.again = (request, decision)
            return False, None
        if known is None and len(self._written) >= REPEATS_MAX:
            key_before = next(iter(self._written))
        else:
            key_before = key
        before = self._written.pop(key_before, None)
        self._written[key] = _Written(now)
        return True, before.said() if before is not None else None

    def expired(self, now: float, *, closing: bool = False) -> Iterator[dict[str, Any]]:
        """Forget what is old, or all; yield what is to be said of it."""
        for key, each in list(self._written.items()):
            if not closing and now - each.since < REPEAT_SECONDS:
                # They were written one after the other.
                return
            del self._written[key]
            said = each.said()
            if said is not None:
                yield said


def _digest(request: Request, decision: Decision) -> bytes:
    key = (
        request.principal,
        request.action,
        request.place or request.where,
        request.app,
        request.branch,
        request.resource,
        request.encrypted,
        decision.allowed,
        decision.rule,
        decision.policy,
    )
    return hashlib.blake2b(_encode(key), digest_size=_DIGEST_BYTES).digest()
