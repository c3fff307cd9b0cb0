"""What tells a node that state was written, so that standbys on other nodes can have it too.

Engines and bindings write state in several processes, and each of them says so as soon as a write
is durable here and **before** it is acknowledged:

    sync_data(descriptor)
    journal_of(path).wrote(path)

Where nothing is replicated, that costs nothing. Where the app asks that a write survives its node,
the call returns once a standby has the bytes on its disk; else it returns once the node has read
them. It raises `SkerryError` if that does not come about: the write is here, but nobody may be told
that it is safe. It blocks as a sync of the disk does, so call it in the same thread.

Journals are found by the path, because whoever opens a file is not always who was given a context:
no writer can be forgotten.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Journal(Protocol):
    """Takes note of writes to the state of one resource."""

    @property
    def replicated(self) -> bool:
        """Whether anybody is told at all."""
        ...

    def wrote(self, *paths: Path) -> None:
        """Note files that are new, or longer than they were; what was there has not changed."""
        ...

    def announce(self, *paths: Path) -> None:
        """As `wrote`, but return once the node has read the files, whatever the standbys have.

        For what is about to be referred to by a write that is noted in its turn.
        """
        ...

    def replaced(self, path: Path) -> None:
        """Note that the content of a file is another one now."""
        ...

    def removed(self, path: Path) -> None:
        """Note that a file is gone; returns as `announce` does."""
        ...


class NoJournal:
    """The journal of state that is on this node only."""

    replicated = False

    def wrote(self, *paths: Path) -> None:
        """See `Journal.wrote`."""

    def announce(self, *paths: Path) -> None:
        """See `Journal.announce`."""

    def replaced(self, path: Path) -> None:
        """See `Journal.replaced`."""

    def removed(self, path: Path) -> None:
        """See `Journal.removed`."""


NO_JOURNAL = NoJournal()
_journals: dict[Path, Journal] = {}


def keep_journal(directory: Path, journal: Journal) -> None:
    """Let a journal hear of every write below a directory, in this process."""
    _journals[directory] = journal


def forget_journal(directory: Path) -> None:
    """Let nobody hear of writes below a directory any more."""
    _journals.pop(directory, None)


def journal_of(path: Path) -> Journal:
    """Return the journal of the state that a file belongs to."""
    if not _journals:
        return NO_JOURNAL
    return next((_journals[each] for each in path.parents if each in _journals), NO_JOURNAL)
