"""Jobs on disk: one SQLite file, in which everything acknowledged survives `kill -9`."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.clock import Clock
from skerry.kernel.errors import BUSY, CONFLICT, NOT_FOUND
from skerry.kinds._shared.sqlite_state import connect, writing
from skerry.kinds.quantum.catalogue.model import Calibration
from skerry.kinds.quantum.contract import (
    STEPS,
    TERMINAL,
    Event,
    Job,
    JobRequest,
    JobState,
    Result,
)

FILE = "jobs.sqlite"
OPEN_JOBS_MAX = 10_000
RESULT_BYTES_MAX = 512 << 20
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS jobs(
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    token TEXT UNIQUE,
    state TEXT NOT NULL,
    device TEXT NOT NULL,
    owner TEXT NOT NULL,
    created INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs(state, number);
CREATE TABLE IF NOT EXISTS results(
    job TEXT NOT NULL, execution INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (job, execution)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events(
    job TEXT NOT NULL, at INTEGER NOT NULL, state TEXT NOT NULL, note TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_job ON events(job);
CREATE TABLE IF NOT EXISTS papers(
    wire TEXT NOT NULL, sort TEXT NOT NULL, id TEXT NOT NULL, created INTEGER NOT NULL,
    body BLOB NOT NULL, PRIMARY KEY (wire, sort, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions(id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reservations(
    id TEXT PRIMARY KEY, ends INTEGER NOT NULL, body BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hybrids(
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE, token TEXT UNIQUE, state TEXT NOT NULL, created INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS said(
    job TEXT NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket TEXT NOT NULL, key TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
    kind TEXT NOT NULL, at INTEGER NOT NULL, UNIQUE (bucket, key)
);
CREATE TABLE IF NOT EXISTS file_parts(
    file INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (file, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calibrations(
    device TEXT NOT NULL, revision INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (device, revision)
) WITHOUT ROWID;
"""
_OPEN = tuple(each for each in JobState if each not in TERMINAL)
_MARKS = ", ".join("?" * len(_OPEN))
_encoder = msgspec.json.Encoder()
_jobs = msgspec.json.Decoder(Job)
_results = msgspec.json.Decoder(Result)
_calibrations = msgspec.json.Decoder(Calibration)


class Store:
    """The jobs of one resource, on one connection; its methods block."""

    def __init__(self, path: Path, clock: Clock, *, create: bool = False) -> None:
        self._clock = clock
        self.db = connect(path, create=create)
        if create:
            self.db.execute(_SCHEMA)

    def close(self) -> None:
        """Close the connection."""
        self.db.close()

    def now(self) -> int:
        """Return the time of the node."""
        return self._clock.now()

    def meta(self, key: str) -> str:
        """Return what is kept under a key, or nothing."""
        found = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).get
        return "" if found is None else str(found)

    def set_meta(self, key: str, value: str) -> None:
        """Keep a text under a key."""
        with writing(self.db) as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def add(self, job: Job, steps: tuple[JobState, ...] = ()) -> Job:
        """Keep a new job, durably, and return it; or the one that was made with its token.

        `steps` are the states that it has been through, its own the last.
        Raises BUSY beyond a bound of open jobs, CONFLICT if the token was for something else, or
        if the job's id is taken.
        """
        with writing(self.db) as db:
            known = self.known(job.request)
            if known is not None:
                return known
            if db.execute("SELECT 1 FROM jobs WHERE id = ?", (job.id,)).get is not None:
                raise CONFLICT(f"There is a job {job.id} already.")
            count = db.execute(f"SELECT count(*) FROM jobs WHERE state IN ({_MARKS})", _OPEN).get  # noqa: S608
            if int(count or 0) >= OPEN_JOBS_MAX:
                raise BUSY(f"{OPEN_JOBS_MAX} jobs wait already.", hint="skerry quantum jobs")
            self.insert(job)
            for state in steps:
                self._note(job.id, state, "")
        return job

    def known(self, request: JobRequest) -> Job | None:
        """Return the job that a request's token made before; raise CONFLICT if for another."""
        if not request.token:
            return None
        found = self.db.execute("SELECT body FROM jobs WHERE token = ?", (request.token,)).get
        return None if found is None else _same(_jobs.decode(found), request)

    def insert(self, job: Job) -> None:
        """Write a job's row, inside of a transaction of the caller."""
        request = job.request
        self.db.execute(
            "INSERT INTO jobs(id, token, state, device, owner, created, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                job.id,
                request.token or None,
                job.state,
                request.device,
                request.owner,
                job.created,
                _encoder.encode(job),
            ),
        )

    def job(self, id: str) -> Job:  # noqa: A002 (the word of every vendor)
        """Return a job; raise NOT_FOUND."""
        found = self.db.execute("SELECT body FROM jobs WHERE id = ?", (id,)).get
        if found is None:
            raise NOT_FOUND(f"There is no job {id[:100]}.", hint="skerry quantum jobs")
        return _jobs.decode(found)

    def state(self, id: str) -> JobState:  # noqa: A002
        """Return a job's state alone, which is cheap; raise NOT_FOUND."""
        found = self.db.execute("SELECT state FROM jobs WHERE id = ?", (id,)).get
        if found is None:
            raise NOT_FOUND(f"There is no job {id[:100]}.", hint="skerry quantum jobs")
        return JobState(found)

    def start(self, id: str, at: int) -> Job:  # noqa: A002
        """Note that a job runs, without waiting for the disk: a power cut leaves it queued."""
        self.db.pragma("synchronous", "normal")
        try:
            return self.change(id, JobState.RUNNING, started=at)
        finally:
            self.db.pragma("synchronous", "full")

    def change(self, id: str, state: JobState | None = None, note: str = "", **values: Any) -> Job:  # noqa: A002
        """Take a job to another state, with other values, durably; raise CONFLICT if it cannot."""
        with writing(self.db) as db:
            job = self.job(id)
            if state is not None and state is not job.state:
                if state not in STEPS.get(job.state, frozenset()):
                    raise CONFLICT(f"Job {id} is {job.state}; it cannot become {state}.")
                self._note(id, state, note)
                values["state"] = state
            made = msgspec.structs.replace(job, updated=self._clock.now(), **values)
            db.execute(
                "UPDATE jobs SET state = ?, body = ? WHERE id = ?",
                (made.state, _encoder.encode(made), id),
            )
        return made

    def _note(self, id: str, state: JobState, note: str) -> None:  # noqa: A002
        row = (id, self._clock.now(), state, note)
        self.db.execute("INSERT INTO events VALUES (?, ?, ?, ?)", row)

    def events(self, id: str) -> list[Event]:  # noqa: A002
        """Return the steps of a job, in their order."""
        query = "SELECT at, state, note FROM events WHERE job = ? ORDER BY at, rowid"
        return [Event(at, JobState(s), note) for at, s, note in self.db.execute(query, (id,))]

    def jobs(
        self, states: tuple[JobState, ...] = (), limit: int = 100, before: str = ""
    ) -> list[Job]:
        """Return jobs, the newest first; `before` is the id of the last one of the page before."""
        where, values = [], list[Any]()
        if states:
            where.append(f"state IN ({', '.join('?' * len(states))})")
            values += states
        if before:
            where.append("number < (SELECT number FROM jobs WHERE id = ?)")
            values.append(before)
        condition = f"WHERE {' AND '.join(where)}" if where else ""
        query = f"SELECT body FROM jobs {condition} ORDER BY number DESC LIMIT ?"  # noqa: S608
        return [_jobs.decode(body) for (body,) in self.db.execute(query, (*values, limit))]

    def open(self) -> list[Job]:
        """Return the jobs that are not over, the oldest first."""
        query = f"SELECT body FROM jobs WHERE state IN ({_MARKS}) ORDER BY number"  # noqa: S608
        return [_jobs.decode(body) for (body,) in self.db.execute(query, _OPEN)]

    def all(self) -> Iterator[Job]:
        """Yield every job, the oldest first."""
        for (body,) in self.db.execute("SELECT body FROM jobs ORDER BY number"):
            yield _jobs.decode(body)

    def count(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        return dict(self.db.execute("SELECT state, count(*) FROM jobs GROUP BY state"))

    def waiting(self, device: str) -> int:
        """Return how many jobs wait for a device."""
        sql = "SELECT count(*) FROM jobs WHERE state = ? AND device = ?"
        return int(self.db.execute(sql, (JobState.QUEUED.value, device)).get)

    def keep_paper(self, wire: str, sort: str, id: str, body: bytes, most: int) -> None:  # noqa: A002
        """Keep what a vendor's wire must remember and no job is; the oldest go beyond `most`."""
        with writing(self.db) as db:
            sql = "INSERT INTO papers VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET body = ?5"
            db.execute(sql, (wire, sort, id, self._clock.now(), body))
            db.execute(
                "DELETE FROM papers WHERE wire = ?1 AND sort = ?2 AND id IN (SELECT id FROM papers"
                " WHERE wire = ?1 AND sort = ?2 ORDER BY created DESC, id LIMIT -1 OFFSET ?3)",
                (wire, sort, most),
            )

    def paper(self, wire: str, sort: str, id: str) -> bytes:  # noqa: A002
        """Return what a wire keeps under an id; raise NOT_FOUND."""
        sql = "SELECT body FROM papers WHERE wire = ? AND sort = ? AND id = ?"
        found = self.db.execute(sql, (wire, sort, id)).get
        if found is None:
            raise NOT_FOUND(f"There is no {sort} {id[:100]}.")
        return bytes(found)

    def drop_paper(self, wire: str, sort: str, id: str) -> None:  # noqa: A002
        """Forget what a wire keeps under an id."""
        with writing(self.db) as db:
            sql = "DELETE FROM papers WHERE wire = ? AND sort = ? AND id = ?"
            db.execute(sql, (wire, sort, id))

    def papers(self, wire: str, sort: str) -> list[bytes]:
        """Return all that a wire keeps of a sort, the newest first."""
        sql = "SELECT body FROM papers WHERE wire = ? AND sort = ? ORDER BY created DESC, id"
        return [bytes(body) for (body,) in self.db.execute(sql, (wire, sort))]

    def keep_results(
        self,
        id: str,  # noqa: A002
        results: Sequence[Result],
        state: JobState | None = None,
        **values: Any,
    ) -> Job:
        """Keep results of executions with the job's new state and values, durably."""
        rows = [(id, each.execution, zlib.compress(_encoder.encode(each), 6)) for each in results]
        with writing(self.db) as db:
            for row in rows:
                db.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", row)
            job = self.job(id)
            if state is not None:
                assert state in STEPS[job.state], "the runner keeps to the steps"
                self._note(id, state, "")
                values["state"] = state
            made = msgspec.structs.replace(job, updated=self._clock.now(), **values)
            db.execute(
                "UPDATE jobs SET state = ?, body = ? WHERE id = ?",
                (made.state, _encoder.encode(made), id),
            )
        return made

    def results(self, id: str) -> list[Result]:  # noqa: A002
        """Return the results of a job so far, in the order of executions."""
        query = "SELECT body FROM results WHERE job = ? ORDER BY execution"
        return [_results.decode(zlib.decompress(each)) for (each,) in self.db.execute(query, (id,))]

    def result(self, id: str, execution: int) -> Result:  # noqa: A002
        """Return the result of one execution; raise NOT_FOUND if there is none yet."""
        query = "SELECT body FROM results WHERE job = ? AND execution = ?"
        found = self.db.execute(query, (id, execution)).get
        if found is None:
            job = self.job(id)
            raise NOT_FOUND(
                f"Job {id} has no result {execution}.", why=f"It is {job.state}, {job.done} done."
            )
        return _results.decode(zlib.decompress(found))

    def learn(self, calibration: Calibration, first: int) -> int:
        """Keep a calibration as the next revision of a device, from `first` on; return it."""
        with writing(self.db) as db:
            query = "SELECT max(revision) FROM calibrations WHERE device = ?"
            newest = db.execute(query, (calibration.device,)).get
            revision = first if newest is None else int(newest) + 1
            body = _encoder.encode(calibration)
            db.execute(
                "INSERT INTO calibrations VALUES (?, ?, ?)", (calibration.device, revision, body)
            )
        return revision

    def calibrations(self) -> dict[str, tuple[int, Calibration]]:
        """Return the newest imported calibration of every device, with its revision."""
        query = "SELECT device, revision, body FROM calibrations ORDER BY device, revision"
        return {
            device: (revision, _calibrations.decode(body))
            for device, revision, body in self.db.execute(query)
        }


def _same(found: Job, wanted: JobRequest) -> Job:
    # One was read from the disk, where what a wire keeps in tuples is lists.
    if _encoder.encode(found.request) != _encoder.encode(wanted):
        raise CONFLICT(
            f"The token of this request made job {found.id}, which asked for something else."
        )
    return found
