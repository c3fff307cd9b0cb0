"""The line of jobs: fair between owners, first come first served for each."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable


class Line:
    """Which job is next: owners take turns, so that a thousand jobs of one delay no other.

    Jobs of dedicated sessions and of reservations are `first`: they go before all others.
    """

    def __init__(self) -> None:
        self._first: deque[str] = deque()
        self._owners: OrderedDict[str, deque[str]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._first) + sum(len(each) for each in self._owners.values())

    def join(self, owner: str, job: str, *, first: bool = False) -> None:
        """Put a job at the end of its owner's own line, or of those that go first."""
        if first:
            self._first.append(job)
        else:
            self._owners.setdefault(owner, deque()).append(job)

    def leave(self, owner: str, job: str) -> bool:
        """Take a job out; return whether it waited."""
        if job in self._first:
            self._first.remove(job)
            return True
        jobs = self._owners.get(owner)
        if jobs is None or job not in jobs:
            return False
        jobs.remove(job)
        if not jobs:
            del self._owners[owner]
        return True

    def next(self, held: Callable[[str], bool] = lambda _: False) -> str | None:
        """Take the job whose turn it is, of those that are not held; its owner goes to the end."""
        for job in self._first:
            if not held(job):
                self._first.remove(job)
                return job
        for owner, jobs in self._owners.items():
            for job in jobs:
                if not held(job):
                    self.leave(owner, job)
                    if jobs:
                        self._owners.move_to_end(owner)
                    return job
        return None

    def position(self, owner: str, job: str) -> int:
        """Return how many turns from now the job comes, 1 for the next; 0 if it does not wait."""
        if job in self._first:
            return self._first.index(job) + 1
        jobs = self._owners.get(owner)
        if jobs is None or job not in jobs:
            return 0
        rounds = jobs.index(job)
        place = list(self._owners).index(owner)
        ahead = len(self._first)
        for number, others in enumerate(self._owners.values()):
            if number != place:
                ahead += min(len(others), rounds + (1 if number < place else 0))
        return ahead + rounds + 1
