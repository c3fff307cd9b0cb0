"""Hybrid jobs on disk, in the same file as all jobs: acknowledged means durable."""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.kernel.errors import BUSY, CONFLICT, NOT_FOUND
from skerry.kinds._shared.sqlite_state import writing
from skerry.kinds.quantum.contract import STEPS, TERMINAL, JobState
from skerry.kinds.quantum.hybrid.contract import HybridJob
from skerry.kinds.quantum.store import Store

OPEN_MAX = 100
"""How many hybrid jobs of a resource may wait or run."""

LOGS_MAX = 500
"""Of how many jobs, the newest, it is kept what they said."""

_OPEN = tuple(each for each in JobState if each not in TERMINAL)
_MARKS = ", ".join("?" * len(_OPEN))
_encoder = msgspec.json.Encoder()
_jobs = msgspec.json.Decoder(HybridJob)


def add(store: Store, job: HybridJob) -> HybridJob:
    """Keep a new job, durably, and return it; or the one that was made with its token.

    Raises BUSY beyond a bound of open jobs, CONFLICT if the token was for something else.
    """
    with writing(store.db) as db:
        found = db.execute("SELECT body FROM hybrids WHERE token = ?", (job.request.token,)).get
        if found is not None:
            made = _jobs.decode(found)
            if _encoder.encode(made.request) != _encoder.encode(job.request):
                raise CONFLICT(f"The token of this request made job {made.id}.")
            return made
        sql = f"SELECT count(*) FROM hybrids WHERE state IN ({_MARKS})"  # noqa: S608
        if int(db.execute(sql, _OPEN).get or 0) >= OPEN_MAX:
            raise BUSY(f"{OPEN_MAX} hybrid jobs wait already.", hint="skerry quantum jobs")
        insert(store, job)
        note(store, job.id, JobState.QUEUED, "")
        kept = "SELECT id FROM hybrids ORDER BY number DESC LIMIT ?"
        db.execute(f"DELETE FROM said WHERE job NOT IN ({kept})", (LOGS_MAX,))  # noqa: S608
    return job


def insert(store: Store, job: HybridJob) -> None:
    """Write a job's row, inside of a transaction of the caller."""
    store.db.execute(
        "INSERT INTO hybrids(id, token, state, created, body) VALUES (?, ?, ?, ?, ?)",
        (job.id, job.request.token or None, job.state, job.created, _encoder.encode(job)),
    )


def note(store: Store, job: str, state: JobState, text: str) -> None:
    """Write a step of a job, inside of a transaction of the caller."""
    row = (job, store.now(), state, text)
    store.db.execute("INSERT INTO events VALUES (?, ?, ?, ?)", row)


def get(store: Store, job: str) -> HybridJob:
    """Return a job; raise NOT_FOUND."""
    found = store.db.execute("SELECT body FROM hybrids WHERE id = ?", (job,)).get
    if found is None:
        raise NOT_FOUND(f"There is no job {job[:100]}.", hint="skerry quantum jobs")
    return _jobs.decode(found)


def change(
    store: Store,
    id: str,  # noqa: A002 (the word of every vendor)
    state: JobState | None = None,
    text: str = "",
    **values: Any,
) -> HybridJob:
    """Take a job to another state, with other values, durably; raise CONFLICT if it cannot."""
    with writing(store.db) as db:
        job = get(store, id)
        if state is not None and state is not job.state:
            if state not in STEPS.get(job.state, frozenset()):
                raise CONFLICT(f"Job {id} is {job.state}; it cannot become {state}.")
            note(store, id, state, text)
            values["state"] = state
        made = msgspec.structs.replace(job, updated=store.now(), **values)
        db.execute(
            "UPDATE hybrids SET state = ?, body = ? WHERE id = ?",
            (made.state, _encoder.encode(made), id),
        )
    return made


def recent(store: Store, limit: int, before: str = "") -> list[HybridJob]:
    """Return jobs, the newest first; `before` is the id of the last one of the page before."""
    where, values = "", list[Any]()
    if before:
        where = "WHERE number < (SELECT number FROM hybrids WHERE id = ?)"
        values.append(before)
    sql = f"SELECT body FROM hybrids {where} ORDER BY number DESC LIMIT ?"  # noqa: S608
    return [_jobs.decode(body) for (body,) in store.db.execute(sql, (*values, limit))]


def unfinished(store: Store) -> list[HybridJob]:
    """Return the jobs that are not over, the oldest first."""
    sql = f"SELECT body FROM hybrids WHERE state IN ({_MARKS}) ORDER BY number"  # noqa: S608
    return [_jobs.decode(body) for (body,) in store.db.execute(sql, _OPEN)]


def settle(store: Store, *, is_copy: bool) -> None:
    """Bring jobs into order that a crash or a copy left behind.

    A script cannot go on in the middle, and it may have sent tasks: one that ran has failed.
    """
    for job in unfinished(store):
        if is_copy:
            note_text = "This is a copy; the job goes on where it was made."
            if job.state is JobState.RUNNING:
                change(store, job.id, JobState.CANCELLING, note_text)
            change(store, job.id, JobState.CANCELLED, note_text, ended=job.updated)
        elif job.state is JobState.CANCELLING:
            change(store, job.id, JobState.CANCELLED, "after a restart", ended=job.updated)
        elif job.state is JobState.RUNNING:
            why = "The node stopped while the job ran; its last checkpoints are kept."
            change(store, job.id, JobState.FAILED, why, ended=store.now(), why=why)


def say(store: Store, job: str, data: bytes) -> None:
    """Keep more of what a job said."""
    with writing(store.db) as db:
        last = db.execute("SELECT max(number) FROM said WHERE job = ?", (job,)).get
        number = 0 if last is None else int(last) + 1
        db.execute("INSERT INTO said VALUES (?, ?, ?)", (job, number, data))


def said(store: Store, job: str) -> bytes:
    """Return all that a job said."""
    sql = "SELECT body FROM said WHERE job = ? ORDER BY number"
    return b"".join(body for (body,) in store.db.execute(sql, (job,)))
