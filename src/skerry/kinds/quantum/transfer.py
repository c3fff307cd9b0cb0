"""Export and import of a quantum resource: lines of JSON, one a job, a result, a calibration.

Bodies of papers are in base64.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.errors import INVALID
from skerry.kinds._shared.sqlite_state import writing
from skerry.kinds.quantum.catalogue.model import Calibration
from skerry.kinds.quantum.contract import Event, Job, JobState, Result, Session
from skerry.kinds.quantum.hybrid import transfer as hybrid
from skerry.kinds.quantum.store import Store

JOBS, RESULTS, EVENTS, CALIBRATIONS, SESSIONS, PAPERS = (
    "jobs.ndjson",
    "results.ndjson",
    "events.ndjson",
    "calibrations.ndjson",
    "sessions.ndjson",
    "papers.ndjson",
)
_encoder = msgspec.json.Encoder()


class ResultLine(msgspec.Struct, frozen=True):
    """A result and the job that it belongs to."""

    job: str
    result: Result


class EventLine(msgspec.Struct, frozen=True):
    """A step and the job that it belongs to."""

    job: str
    event: Event


class CalibrationLine(msgspec.Struct, frozen=True):
    """An imported calibration and its revision."""

    revision: int
    calibration: Calibration


class PaperLine(msgspec.Struct, frozen=True):
    """What a vendor's wire remembers besides jobs."""

    wire: str
    sort: str
    id: str
    created: int
    body: bytes


def export(store: Store, target: Path) -> None:
    """Write everything, as of one moment."""
    with writing(store.db):
        _write(target / JOBS, store.all())
        jobs = [job.id for job in store.all()]
        hybrids = [job.id for job in hybrid.jobs(store)]
        _write(
            target / RESULTS,
            (ResultLine(id_, result) for id_ in jobs for result in store.results(id_)),
        )
        _write(
            target / EVENTS,
            (EventLine(id_, event) for id_ in [*jobs, *hybrids] for event in store.events(id_)),
        )
        _write(target / CALIBRATIONS, _calibrations(store))
        _write(target / SESSIONS, _sessions(store))
        _write(target / PAPERS, _papers(store))
        _write(target / hybrid.JOBS, hybrid.jobs(store))
        _write(target / hybrid.SAID, hybrid.said(store))
        _write(target / hybrid.FILES, hybrid.contents(store, target))


def _calibrations(store: Store) -> Iterator[CalibrationLine]:
    query = "SELECT revision, body FROM calibrations ORDER BY device, revision"
    for revision, body in store.db.execute(query):
        yield CalibrationLine(revision, msgspec.json.decode(body, type=Calibration))


def _papers(store: Store) -> Iterator[PaperLine]:
    query = "SELECT wire, sort, id, created, body FROM papers ORDER BY wire, sort, id"
    for row in store.db.execute(query):
        yield PaperLine(*row)


def _sessions(store: Store) -> Iterator[Session]:
    for (body,) in store.db.execute("SELECT body FROM sessions ORDER BY id"):
        yield msgspec.json.decode(body, type=Session)


def _write(path: Path, items: Iterator[Any]) -> None:
    with path.open("wb") as file:
        for each in items:
            file.write(_encoder.encode(each) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def restore(store: Store, source: Path) -> None:
    """Replace everything by an export; raise INVALID, with nothing changed, if it is none.

    A job runs once, so one that was not over when it was exported is cancelled here.
    """
    if not (source / JOBS).is_file():
        raise INVALID(f"The export has no {JOBS}.")
    with writing(store.db) as db:
        for table in (
            "jobs",
            "results",
            "events",
            "calibrations",
            "sessions",
            "reservations",
            "papers",
            *hybrid.TABLES,
        ):
            db.execute(f"DELETE FROM {table}")  # noqa: S608 (the names above)
        for job in _lines(source / JOBS, Job):
            _add(store, job)
        for line in _lines(source / RESULTS, ResultLine):
            body = zlib.compress(_encoder.encode(line.result), 6)
            row = (line.job, line.result.execution, body)
            db.execute("INSERT INTO results VALUES (?, ?, ?)", row)
        for step in _lines(source / EVENTS, EventLine):
            event = step.event
            db.execute(
                "INSERT INTO events VALUES (?, ?, ?, ?)",
                (step.job, event.at, event.state, event.note),
            )
        for each in _lines(source / CALIBRATIONS, CalibrationLine):
            found = each.calibration
            db.execute(
                "INSERT INTO calibrations VALUES (?, ?, ?)",
                (found.device, each.revision, _encoder.encode(found)),
            )
        for session in _lines(source / SESSIONS, Session):
            closed = msgspec.structs.replace(session, accepting=False)
            body = _encoder.encode(closed)
            db.execute("INSERT INTO sessions VALUES (?, ?)", (session.id, body))
        hybrid.restore(store, source, _lines)
        for paper in _lines(source / PAPERS, PaperLine):
            row = msgspec.structs.astuple(paper)
            db.execute("INSERT INTO papers VALUES (?, ?, ?, ?, ?)", row)


def _add(store: Store, job: Job) -> None:
    if not job.over:
        job = msgspec.structs.replace(job, state=JobState.CANCELLED, ended=job.updated)
    store.insert(job)


def _lines(path: Path, kind: type[Any]) -> Iterator[Any]:
    """Yield what the lines of a file hold; raise INVALID with the line that is wrong."""
    if not path.is_file():
        return
    decoder = msgspec.json.Decoder(kind)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield decoder.decode(line)
            except msgspec.MsgspecError as error:
                raise INVALID(f"{path.name} line {number} is malformed.", why=str(error)) from error
