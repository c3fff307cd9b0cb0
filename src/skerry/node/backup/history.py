"""What happened to backups: a hash-chained log of runs, failures, proofs and checks, and its fold.

What is measured is computed from it: how much could be lost (RPO) from the times between the
instants of cuts and the moment at which the next one was safe; how long a restore takes (RTO) from
the last one that was tried.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import msgspec

from skerry.kernel.clock import NANOSECONDS

RUNS_KEPT = 200
NODE = "node"
"""The scope of what is sent for the whole node."""


class Saved(msgspec.Struct, frozen=True, tag="saved"):
    """A backup reached a store. `cut` is the instant of its state, `time` when it was safe."""

    store: str
    scope: str
    snapshot: str
    cut: int
    time: int
    seconds: float
    bytes: int
    added: int
    files: int


class Shipped(msgspec.Struct, frozen=True, tag="shipped"):
    """What had changed since a backup reached a store. Nothing before `began` is missing there."""

    store: str
    snapshot: str
    began: int
    time: int
    seconds: float
    added: int


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Something went wrong: a backup, a drill, a check or a removal."""

    what: str
    store: str
    scope: str
    time: int
    code: str
    message: str


class Proof(msgspec.Struct, frozen=True, tag="proof"):
    """A restore was tried: what was brought back, how long it took, and what was found in it.

    `counts` are rows, objects and the like by resource, as its engine counted them once started,
    and `living` those of the living resource at the same time;
    `digests` are those of the files as restored, which were the same as those of the cut if `ok`.
    """

    node: str
    store: str
    snapshot: str
    scope: str
    app: str
    branch: str
    cut: int
    time: int
    restore_seconds: float
    start_seconds: float
    files: int
    bytes: int
    digests: dict[str, str]
    counts: dict[str, dict[str, int]]
    ok: bool
    problem: str = ""
    living: dict[str, dict[str, int]] = {}


class Signed(msgspec.Struct, frozen=True, tag="signed"):
    """A proof with the node's signature (Ed25519) over its canonical bytes."""

    proof: Proof
    key: str
    signature: str


class Checked(msgspec.Struct, frozen=True, tag="checked"):
    """A part of all stored data was read and verified."""

    store: str
    part: int
    time: int
    seconds: float


class Tidied(msgspec.Struct, frozen=True, tag="tidied"):
    """Old backups went as retention says."""

    store: str
    scope: str
    removed: int
    time: int


class Measured(msgspec.Struct, frozen=True, tag="measured"):
    """How much a store holds."""

    store: str
    bytes: int
    time: int


Happening = Saved | Shipped | Failed | Signed | Checked | Tidied | Measured
_decoder = msgspec.json.Decoder(Happening)


class History:
    """The fold: what is known of each store and scope."""

    def __init__(self) -> None:
        self.runs: deque[Saved] = deque(maxlen=RUNS_KEPT)
        self.failures: deque[Failed] = deque(maxlen=RUNS_KEPT)
        self.proofs: deque[Signed] = deque(maxlen=RUNS_KEPT)
        self.checked: dict[str, Checked] = {}
        self.tidied: dict[tuple[str, str], Tidied] = {}
        self.measured: dict[str, Measured] = {}
        self.shipped: dict[str, deque[Shipped]] = {}
        self.sent: dict[tuple[str, str], int] = {}
        self.kept_byte_seconds: dict[str, int] = {}

    def apply(self, body: bytes) -> None:
        """Fold one entry."""
        event = _decoder.decode(body)
        if isinstance(event, Saved):
            self.runs.append(event)
            self._count_sent(event.store, event.scope, event.added)
        elif isinstance(event, Shipped):
            self.shipped.setdefault(event.store, deque(maxlen=RUNS_KEPT)).append(event)
            self._count_sent(event.store, NODE, event.added)
        elif isinstance(event, Failed):
            self.failures.append(event)
        elif isinstance(event, Signed):
            self.proofs.append(event)
        elif isinstance(event, Checked):
            self.checked[event.store] = event
        elif isinstance(event, Tidied):
            self.tidied[event.store, event.scope] = event
        else:
            self._count_kept(event)
            self.measured[event.store] = event

    def _count_sent(self, store: str, scope: str, added: int) -> None:
        self.sent[store, scope] = self.sent.get((store, scope), 0) + added

    def _count_kept(self, event: Measured) -> None:
        """Count what a store held since it was last measured."""
        last = self.measured.get(event.store)
        if last is not None:
            seconds = max(0, event.time - last.time) // NANOSECONDS
            kept = self.kept_byte_seconds.get(event.store, 0)
            self.kept_byte_seconds[event.store] = kept + last.bytes * seconds

    def last_shipped(self, store: str) -> Shipped | None:
        """Return the last changes that reached a store."""
        found = self.shipped.get(store)
        return found[-1] if found else None

    def last_saved(self, store: str, scope: str = "") -> Saved | None:
        """Return the last backup that reached a store; of one scope, or of any."""
        found = (each for each in reversed(self.runs) if each.store == store)
        return next((each for each in found if scope in ("", each.scope)), None)

    def last_proof(self, store: str = "", *, good: bool = True) -> Proof | None:
        """Return the last restore that was tried, or the last that was proven."""
        for each in reversed(self.proofs):
            if store in ("", each.proof.store) and (each.proof.ok or not good):
                return each.proof
        return None

    def last_failure(self, what: str, store: str) -> Failed | None:
        """Return the last failure, unless something went well after it."""
        found = next(
            (e for e in reversed(self.failures) if e.what == what and e.store == store), None
        )
        goods: dict[str, tuple[Saved | Shipped | Proof | Checked | None, ...]] = {
            "backup": (self.last_saved(store),),
            "changes": (self.last_saved(store), self.last_shipped(store)),
            "drill": (self.last_proof(store),),
            "check": (self.last_proof(store), self.checked.get(store)),
        }
        good = max((e for e in goods[what] if e), key=lambda e: e.time, default=None)
        return None if found is None or (good and good.time > found.time) else found

    def rpo_seconds(self, store: str, scope: str) -> float | None:
        """Return the most that was at risk between two backups of a scope that are known of."""
        runs = [each for each in self.runs if (each.store, each.scope) == (store, scope)]
        gaps = [(later.time - earlier.cut) / NANOSECONDS for earlier, later in pairwise(runs)]
        return max(gaps[-24:], default=None)

    def lag_seconds(self, store: str) -> float | None:
        """Return the longest that lately passed from a look at what changed until it was safe."""
        found = self.shipped.get(store)
        if not found:
            return None
        return round(max((e.time - e.began) / NANOSECONDS for e in list(found)[-24:]), 3)

    def rto_seconds(self, store: str = "") -> float | None:
        """Return how long the last proven restore took until everything was started."""
        proof = self.last_proof(store)
        return None if proof is None else round(proof.restore_seconds + proof.start_seconds, 3)


def encode(event: Happening) -> bytes:
    """Return the entry of the log for an event."""
    return msgspec.json.encode(event)
