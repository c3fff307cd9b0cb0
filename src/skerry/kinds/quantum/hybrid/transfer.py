"""Export and import of hybrid jobs: lines of JSON, and every file as the file that it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.errors import INVALID
from skerry.kinds.quantum.contract import JobState
from skerry.kinds.quantum.hybrid import files, records
from skerry.kinds.quantum.hybrid.contract import HybridJob
from skerry.kinds.quantum.store import Store

JOBS, SAID, FILES, CONTENTS = "hybrids.ndjson", "said.ndjson", "files.ndjson", "files"
TABLES = ("hybrids", "said", "files", "file_parts")


class SaidLine(msgspec.Struct, frozen=True):
    """What a job said."""

    job: str
    body: bytes


class FileLine(msgspec.Struct, frozen=True):
    """A file, and the name of its content below `CONTENTS`."""

    bucket: str
    key: str
    kind: str
    content: str


def jobs(store: Store) -> Iterator[HybridJob]:
    """Yield every job, the oldest first."""
    for (body,) in store.db.execute("SELECT body FROM hybrids ORDER BY number"):
        yield msgspec.json.decode(body, type=HybridJob)


def said(store: Store) -> Iterator[SaidLine]:
    """Yield what jobs said, one a job."""
    for (job,) in list(store.db.execute("SELECT DISTINCT job FROM said ORDER BY job")):
        yield SaidLine(job, records.said(store, job))


def contents(store: Store, target: Path) -> Iterator[FileLine]:
    """Write every file below a folder, and yield its line."""
    (target / CONTENTS).mkdir(exist_ok=True)
    for number, (found, data) in enumerate(files.everything(store)):
        path = target / CONTENTS / str(number)
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield FileLine(found.bucket, found.key, found.kind, path.name)


def restore(store: Store, source: Path, lines: Callable[[Path, type[Any]], Iterator[Any]]) -> None:
    """Write what was exported, inside of a transaction of the caller; raise INVALID."""
    for job in lines(source / JOBS, HybridJob):
        _add_job(store, job)
    for line in lines(source / SAID, SaidLine):
        store.db.execute("INSERT INTO said VALUES (?, 0, ?)", (line.job, line.body))
    for file in lines(source / FILES, FileLine):
        _add_file(store, source, file)


def _add_job(store: Store, job: HybridJob) -> None:
    """Write a job that was exported; one that was not over is cancelled: a job runs once."""
    if not job.over:
        job = msgspec.structs.replace(job, state=JobState.CANCELLED, ended=job.updated)
    records.insert(store, job)


def _add_file(store: Store, source: Path, line: FileLine) -> None:
    """Write a file that was exported; raise INVALID if its content is not there."""
    path = source / CONTENTS / line.content
    if not line.content.isdigit() or not path.is_file():
        raise INVALID(f"The export has no content for {line.bucket}/{line.key}.")
    files.insert(store, line.bucket, line.key, path.read_bytes(), line.kind)
