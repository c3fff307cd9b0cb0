"""Point in time: base backups and archived WAL, kept as long as the retention says.

A base backup is a copy of the data directory under `base/`, taken through PostgreSQL's backup
protocol; blocks are shared with the original where the file system can (FICLONE). WAL segments go
to `archive/`, written by the server itself (`basic_archive`). What was not archived yet is found in
the data directory's own `pg_wal`, so that even the last commit can be reached.

Source: PostgreSQL 18, "Continuous Archiving and Point-in-Time Recovery".
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import fcntl
import os
import re
import shlex
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from skerry.kernel.clock import NANOSECONDS, Clock
from skerry.kernel.errors import CONFLICT, SkerryError
from skerry.kernel.keys import Keys
from skerry.kernel.kind import RECOVER_FILE, Recover
from skerry.kinds.postgres.control import connect

_ABOUT = "base.json"
_FICLONE = 0x40049409
_EMPTIED = frozenset(
    {
        "pg_dynshmem",
        "pg_notify",
        "pg_replslot",
        "pg_serial",
        "pg_snapshots",
        "pg_stat_tmp",
        "pg_subtrans",
        "pg_wal",
    }
)
_SKIPPED = frozenset({"postmaster.pid", "postmaster.opts", "recovery.signal", "standby.signal"})
_CANNOT_SHARE = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM)
_SEGMENT = re.compile(r"[0-9A-F]{24}")
_START = re.compile(r"START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)")
_MIN_WAL_BYTES = 512 << 20


class Base(msgspec.Struct, frozen=True):
    """A base backup: the first segment it needs, and when it was complete (ns since 1970)."""

    segment: str
    finished: int
    bytes: int


class History:
    """The base backups and archived WAL of one state directory."""

    def __init__(self, directory: Path, retention_seconds: float, clock: Clock) -> None:
        self.directory = directory
        self.archive = directory / "archive"
        self.bases = directory / "base"
        self._retention = int(retention_seconds * NANOSECONDS)
        self._clock = clock
        self._abandoned = threading.Event()

    def abandon(self) -> None:
        """Let a base backup that is being taken come to nothing."""
        self._abandoned.set()

    def since(self) -> int | None:
        """Return the earliest moment that can be reached (ns since 1970), or None."""
        return min((base.finished for _, base in self._list()), default=None)

    def due(self) -> bool:
        """Tell whether it is time for a base backup."""
        bases = self._list()
        if not bases:
            return True
        newest = max((base for _, base in bases), key=lambda base: base.finished)
        wal = sum(p.stat().st_size for p in self._segments() if p.name[8:] > newest.segment[8:])
        old = self._clock.now() - newest.finished > self._retention
        return bool(wal) and (old or wal > max(_MIN_WAL_BYTES, newest.bytes))

    async def back_up(self, data: Path, run: Path, keys: Keys) -> None:
        """Take a base backup of the running server, then drop what is too old."""
        half = self.bases / "incoming"
        self._abandoned.clear()
        connection = await connect(run, keys)
        try:
            await connection.execute("SELECT pg_backup_start('skerry', true)", timeout=3600)
            await asyncio.to_thread(_copy, data, half, self._abandoned)
            label = await connection.fetchval("SELECT labelfile FROM pg_backup_stop(false)")
        finally:
            await connection.close()
        await asyncio.to_thread(self._finish, half, str(label))
        await asyncio.to_thread(self._prune)

    def pending(self) -> Recover | None:
        """Return where the node asked this directory to be taken back to."""
        try:
            content = (self.directory / RECOVER_FILE).read_bytes()
        except FileNotFoundError:
            return None
        return msgspec.json.decode(content, type=Recover)

    def rewound(self, data: Path, to: Recover) -> Recover | None:
        """Rewind; return what is to be replayed then, or None if it stays. Raises CONFLICT."""
        try:
            self.rewind(data, to)
        except SkerryError as error:
            if error.problem is not CONFLICT or not to.or_stay:
                raise
            (self.directory / RECOVER_FILE).unlink()
            return None
        return to

    def rewind(self, data: Path, to: Recover) -> None:
        """Put the newest base backup before the moment in the data directory's place.

        The old one is kept beside it until `done`. Raises CONFLICT, having changed nothing.
        """
        usable = self._usable(to.at)
        before = self._before(data)
        if not before.exists():
            data.rename(before)
        shutil.rmtree(data, ignore_errors=True)
        chosen = max(usable, key=lambda each: each[1].finished)[0]
        _copy(chosen, data)
        (data / _ABOUT).unlink()
        (data / "recovery.signal").touch(mode=0o600)

    def check(self, at: int) -> None:
        """Raise CONFLICT if a moment (ns since 1970) is out of reach."""
        self._usable(at)

    def _usable(self, at: int) -> list[tuple[Path, Base]]:
        """Return the base backups that lead to a moment; raise CONFLICT if none does."""
        usable = [(path, base) for path, base in self._list() if base.finished <= at]
        if not usable or at > self._clock.now():
            since = self.since()
            raise CONFLICT(
                f"The database cannot go back to {_text(at)}.",
                why=f"It can go back to {_text(since)}." if since else "It has no base backup yet.",
                hint="" if since else "skerry logs engines (it says when the first one is done)",
            )
        return usable

    def settings(self, data: Path, to: Recover | None) -> dict[str, str]:
        """Return the server's settings for a recovery; without a moment, to the end of the WAL."""
        places = [shlex.quote(str(each)) for each in (self.archive, self._before(data) / "pg_wal")]
        found = {
            "restore_command": " || ".join(f"cp {place}/%f %p 2>&-" for place in places),
            "recovery_target_timeline": "latest",
            "hot_standby": "off",
        }
        if to is not None:
            found |= {"recovery_target_time": _text(to.at), "recovery_target_action": "promote"}
        return found

    def tidy(self, data: Path) -> None:
        """Remove what an interrupted recovery or backup left, when nothing is pending."""
        for left in self.leftovers(data):
            shutil.rmtree(left)

    def leftovers(self, data: Path) -> list[Path]:
        """Return what an interrupted recovery or backup left."""
        found = (self._before(data), self.bases / "incoming")
        return [each for each in found if each.exists()]

    def forget(self) -> None:
        """Remove every base backup and all archived WAL."""
        for each in (self.bases, self.archive):
            if each.exists():
                shutil.rmtree(each)

    def done(self, data: Path, to: Recover) -> None:
        """Forget the way here, and the base backups of the future that was left."""
        for path, base in self._list():
            if base.finished > to.at:
                shutil.rmtree(path)
        (self.directory / RECOVER_FILE).unlink()
        shutil.rmtree(self._before(data))

    def _before(self, data: Path) -> Path:
        return data.with_name(data.name + ".before")

    def _finish(self, half: Path, label: str) -> None:
        start = _START.search(label)
        assert start is not None, "a backup label names its first segment"
        now = self._clock.now()
        size = sum(path.stat().st_size for path in half.rglob("*") if path.is_file())
        (half / "backup_label").write_text(label)
        (half / _ABOUT).write_bytes(msgspec.json.encode(Base(start[1], now, size)))
        os.sync()
        half.rename(self.bases / str(now))

    def _prune(self) -> None:
        """Keep every base within the retention, and the newest one before it."""
        horizon = self._clock.now() - self._retention
        bases = sorted(self._list(), key=lambda each: each[1].finished)
        older = [each for each in bases if each[1].finished <= horizon]
        for path, _ in older[:-1]:
            shutil.rmtree(path)
        kept = bases[max(0, len(older) - 1) :]
        first = min(base.segment[8:] for _, base in kept)
        for segment in self._segments():
            if segment.name[8:] < first:
                segment.unlink()

    def _list(self) -> list[tuple[Path, Base]]:
        if not self.bases.is_dir():
            return []
        found = []
        for path in self.bases.iterdir():
            about = path / _ABOUT
            if path.name.isdigit() and about.exists():
                found.append((path, msgspec.json.decode(about.read_bytes(), type=Base)))
        return found

    def _segments(self) -> Iterator[Path]:
        if self.archive.is_dir():
            yield from (each for each in self.archive.iterdir() if _SEGMENT.fullmatch(each.name))


def _copy(source: Path, target: Path, abandoned: threading.Event | None = None) -> None:
    """Copy a data directory as a backup needs it; files may vanish meanwhile.

    Raises InterruptedError if it is abandoned.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(mode=0o700, parents=True)
    for folder, folders, files in os.walk(source):
        here = target / Path(folder).relative_to(source)
        top = folder == str(source)
        for name in folders:
            (here / name).mkdir(mode=0o700)
        folders[:] = [name for name in folders if not (top and name in _EMPTIED)]
        if abandoned is not None and abandoned.is_set():
            raise InterruptedError("the base backup was abandoned")
        for name in files:
            if not (top and name in _SKIPPED):
                _copy_file(Path(folder) / name, here / name)
    for name in ("archive_status", "summaries"):
        (target / "pg_wal" / name).mkdir(mode=0o700, exist_ok=True)


def _copy_file(source: Path, target: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not _share(source, target):
            shutil.copyfile(source, target)
        target.chmod(0o600)


def _share(source: Path, target: Path) -> bool:
    """Make a file of the same blocks (FICLONE); False if the file system cannot."""
    if sys.platform != "linux":
        return False
    with source.open("rb") as reader, target.open("wb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
        except OSError as error:
            if error.errno in _CANNOT_SHARE:
                return False
            raise
    return True


def _text(at: int) -> str:
    seconds, rest = divmod(at, NANOSECONDS)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{rest // 1000:06d}+00"
