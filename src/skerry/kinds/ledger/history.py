"""How far back a ledger reaches: the snapshots and the log that are kept, and the way to a moment.

A moment is reached from the newest snapshot before it, by carrying out the log from there up to it.
So what is kept is the log since the snapshot that the retention begins with, that snapshot, and a
few later ones, which only make the way shorter. An import is not in the log: it begins with a
snapshot of its own, which is kept as long as the time before it.
"""

from __future__ import annotations

import datetime
from pathlib import Path

import msgspec

from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.errors import CONFLICT, SkerryError
from skerry.kernel.kind import RECOVER_FILE, Recover
from skerry.kinds.ledger import snapshot
from skerry.kinds.ledger.files import remove, sync_directory
from skerry.kinds.ledger.journal import Journal
from skerry.kinds.ledger.snapshot import Head, Mark, forget_rows, marks

MARKS_MAX = 8
"""How many snapshots are kept beside those that begin with an import."""


class History:
    """The past of the ledger in a directory."""

    def __init__(self, directory: Path, retention_seconds: float) -> None:
        self._directory = directory
        self._retention = int(retention_seconds * NANOSECONDS)

    def pending(self) -> int | None:
        """Return the moment to which the node asked the ledger to be taken back, if it did."""
        try:
            content = (self._directory / RECOVER_FILE).read_bytes()
        except FileNotFoundError:
            return None
        return msgspec.json.decode(content, type=Recover).at

    def newest(self, until: int | None = None) -> Mark | None:
        """Return the newest snapshot, or the newest one of up to a moment."""
        found = [each for each in marks(self._directory) if until is None or each.time <= until]
        return found[-1] if found else None

    def since(self, journal: Journal) -> int | None:
        """Return the earliest moment that can be reached (ns since 1970); None if there is none."""
        if journal.first == 1:
            known = marks(self._directory)
            first = known[0] if known and known[0].sequence == 0 else None
            return first.time if first else journal.began
        return min((each.time for each in marks(self._directory)), default=None)

    def check(self, moment: int, now: int, journal: Journal) -> None:
        """Raise CONFLICT if a moment is out of reach."""
        since = self.since(journal)
        if since is not None and since <= moment <= now:
            return
        raise _out_of_reach(moment, since)

    def arrived(self, head: Head | None) -> None:
        """Forget the future that was left, which began at a snapshot, and the way here.

        It may be cut off at any point: the next start takes the same way again.
        """
        moment = self.pending()
        assert moment is not None
        for each in marks(self._directory):
            if each.time > moment:
                remove(each.path)
        counts = head.counts if head else {}
        generation = head.generation if head else 0

        def is_later(table: str, of: int, start: int) -> bool:
            is_full = start + snapshot.FILE_ROWS <= counts.get(table, 0)
            return of > generation or (of == generation and not is_full)

        forget_rows(self._directory, is_later)
        sync_directory(self._directory)
        remove(self._directory / RECOVER_FILE)
        sync_directory(self._directory)

    def prune(self, now: int, journal: Journal) -> None:
        """Remove the snapshots, rows and log files that no moment of the retention needs."""
        known = marks(self._directory)
        old = [each for each in known if each.time <= now - self._retention]
        kept = known[known.index(old[-1]) :] if old else known
        kept = _thinned(kept)
        for each in known:
            if each not in kept:
                remove(each.path)
        oldest = min(each.generation for each in kept)
        forget_rows(self._directory, lambda _table, generation, _start: generation < oldest)
        if old:
            journal.prune(kept[0].sequence)
        sync_directory(self._directory)


def _thinned(kept: list[Mark]) -> list[Mark]:
    """Leave out snapshots between the first and the last: those that are nearest to the next."""
    found = list(kept)
    while len(found) > MARKS_MAX:
        between = [
            at
            for at in range(1, len(found) - 1)
            if found[at].generation == found[at - 1].generation
        ]
        if not between:
            break
        del found[min(between, key=lambda at: found[at + 1].time - found[at - 1].time)]
    return found


def _out_of_reach(moment: int, since: int | None) -> SkerryError:
    return CONFLICT(
        f"The ledger cannot go back to {as_text(moment)}.",
        why="It has no past yet." if since is None else f"It can go back to {as_text(since)}.",
    )


def as_text(nanoseconds: int) -> str:
    """Return a moment in RFC 3339, to the microsecond."""
    seconds, rest = divmod(nanoseconds, NANOSECONDS)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest // 1000:06}Z"
