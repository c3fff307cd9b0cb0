"""The parameters and results of the commands of backups."""

from __future__ import annotations

from typing import Annotated

import msgspec

from skerry.kernel.commands import Params, about
from skerry.node.backup.destination import CONNECTIONS, PACK_MIB
from skerry.node.backup.plan import PRIMARY

_KEY_HEAD = "RECOVERY KEY of Skerry: keep it on paper, away from the machine."
_KEY_FOOT = "On a new machine: skerry restore --onto-new-node --key FILE"
StoreName = Annotated[str, about("which store: primary or second")]
OptionalApp = Annotated[str | None, about("one app; by default the whole node")]
OptionalBranch = Annotated[str | None, about("one branch of the app; by default all")]
OptionalResource = Annotated[str | None, about("one resource of the branch; by default all")]


class To(Params, frozen=True):
    """Parameters of `backup.to`."""

    url: Annotated[str, about("s3://bucket/path, sftp://user@host/path, a path", positional=True)]
    endpoint: Annotated[str, about("the URL of the S3 endpoint")] = ""
    region: Annotated[str, about("the S3 region, where the store has several")] = ""
    access_key: Annotated[str, about("the S3 access key")] = ""
    secret_key: Annotated[str, about("a file with the S3 secret key, or -", file=True)] = ""
    identity: Annotated[str, about("the path of the ssh key for SFTP")] = ""
    key: Annotated[str, about("a file with the recovery key of backups made before", file=True)] = (
        ""
    )
    provider: Annotated[str, about("whose store it is, as policy knows it")] = ""
    country: Annotated[str, about("where it lies: two letters")] = ""
    second: Annotated[bool, about("the second copy, at another provider")] = False
    append_only: Annotated[bool, about("this node never removes a backup from it")] = False
    object_lock_days: Annotated[int, about("days for which the store locks what is written")] = 0
    pack_mib: Annotated[int, about("size of stored objects, 4 to 128")] = PACK_MIB
    connections: Annotated[int, about("requests at a time, 1 to 64")] = CONNECTIONS
    upload_kib_s: Annotated[int, about("most KiB a second; 0 for as fast as it goes")] = 0
    requests_per_second: Annotated[
        int, about("most requests a second that an S3 or REST store sees; 0 for no bound")
    ] = 0
    price: Annotated[float, about("what a terabyte costs a month")] = 0.0


class Now(Params, frozen=True):
    """Parameters of `backup.now`."""

    app: OptionalApp = None
    branch: OptionalBranch = None
    resource: OptionalResource = None


class Listing(Params, frozen=True):
    """Parameters of `backup.list`."""

    store: StoreName = PRIMARY
    app: OptionalApp = None


class DrillOf(Params, frozen=True):
    """Parameters of `backup.drill`."""

    app: Annotated[str | None, about("one app; by default every app")] = None
    branch: Annotated[str, about("the branch whose backup is tried")] = "main"
    store: StoreName = PRIMARY


class Schedule(Params, frozen=True):
    """Parameters of `backup.schedule`: what is not given stays as it is."""

    schedule: Annotated[
        str | None, about("when to back up: a cron expression (UTC), or never", positional=True)
    ] = None
    drill: Annotated[str | None, about("when to try a restore: a cron expression, or never")] = None
    keep: Annotated[str | None, about("how long every backup is kept: 36h, 2d, 4w")] = None
    keep_hourly: Annotated[str | None, about("how long one an hour is kept")] = None
    keep_daily: Annotated[str | None, about("how long one a day is kept")] = None
    keep_weekly: Annotated[str | None, about("how long one a week is kept")] = None
    keep_monthly: Annotated[str | None, about("how long one a month is kept")] = None
    wal_every_seconds: Annotated[
        int | None, about("how often what changed is sent between backups; 0 for never")
    ] = None


class CheckOf(Params, frozen=True):
    """Parameters of `backup.check`."""

    store: StoreName = PRIMARY
    everything: Annotated[bool, about("read all data, not the next of thirty parts")] = False
    repair: Annotated[bool, about("drop what is damaged, so that it is stored again")] = False


class RestoreOf(Params, frozen=True):
    """Parameters of `backup.restore`."""

    at: Annotated[
        str | None, about('the moment: "yesterday 14:05", 14:05, 90m, 2026-11-23T14:05:00Z')
    ] = None
    as_branch: Annotated[str | None, about("the name of the new branch")] = None
    app: Annotated[str | None, about("the app; by default the one of this folder")] = None
    branch: Annotated[str, about("the branch that is brought back")] = "main"
    resource: OptionalResource = None
    snapshot: Annotated[str, about("one backup by its id; by default the one that fits")] = ""
    store: StoreName = PRIMARY
    onto_new_node: Annotated[bool, about("rebuild a lost machine into an empty home")] = False
    key: Annotated[str, about("a file with the recovery key, or -; asked for", file=True)] = ""


class Target(msgspec.Struct, frozen=True):
    """Where backups go from now on."""

    message: str
    store: str
    url: str
    next: str
    left_out: tuple[str, ...] = ()

    def draw(self, columns: int) -> str:
        """Return what is so now, what may not go there, and what to do next."""
        lines = [self.message, *(f"  ! left out: {each}" for each in self.left_out)]
        return "\n".join([*lines, f"Next: {self.next}"])


class SavedInfo(msgspec.Struct, frozen=True):
    """A backup that was made."""

    store: str
    scope: str
    snapshot: str
    time: int
    files: int
    bytes: int
    added_bytes: int
    seconds: float
    left_out: tuple[str, ...] = ()


class BackupInfo(msgspec.Struct, frozen=True):
    """A backup in a list; `time` is the instant of its state."""

    snapshot: str
    scope: str
    time: int
    node: str


class DrillInfo(msgspec.Struct, frozen=True):
    """What a drill found."""

    app: str
    branch: str
    store: str
    snapshot: str
    ok: bool
    restore_seconds: float
    start_seconds: float
    files: int
    bytes: int
    counts: dict[str, dict[str, int]]
    living: dict[str, dict[str, int]]
    problem: str
    entry: int
    signature: str


class Drills(msgspec.Struct, frozen=True):
    """What the drills found; bad news if one failed."""

    drills: tuple[DrillInfo, ...]

    @property
    def exit_code(self) -> int:
        """1 if a restore is not proven."""
        return 0 if self.drills and all(each.ok for each in self.drills) else 1

    def draw(self, columns: int) -> str:
        """Return a paragraph for each drill."""
        return "\n".join(_drawn(each) for each in self.drills)


class Plan(msgspec.Struct, frozen=True):
    """When backups are made and tried, and how long they are kept."""

    schedule: str
    drill: str
    keep: str
    keep_hourly: str
    keep_daily: str
    keep_weekly: str
    keep_monthly: str
    wal_every_seconds: int


class KeyOf(Params, frozen=True):
    """Parameters of `backup.key`."""

    page: Annotated[bool, about("as a page of HTML for a printer")] = False


class KeyShown(msgspec.Struct, frozen=True):
    """The recovery key, to be printed; whoever has it has everything. `code` is the QR code."""

    key: str
    stores: tuple[str, ...]
    code: str
    note: str = ""
    page: bool = False

    def draw(self, columns: int) -> str:
        """Return a page for a printer."""
        head = f"{_KEY_HEAD}\nIt opens: {', '.join(self.stores)}"
        letters = "\n".join(_wrapped(self.key, 72 if self.page else max(20, min(columns, 78))))
        if self.page:
            import html  # noqa: PLC0415 (not for help)

            texts = [html.escape(each) for each in (head, f"{letters}\n\n{_KEY_FOOT}")]
            return (
                "<!doctype html><meta charset='utf-8'><title>Recovery key</title>"
                f"<pre>{texts[0]}</pre>{self.code}<pre>{texts[1]}</pre>"
            )
        return f"{head}\n\n{self.code or self.note}\n{letters}\n\n{_KEY_FOOT}"


class CheckedInfo(msgspec.Struct, frozen=True):
    """What was verified."""

    store: str
    what: str
    seconds: float


class Source(msgspec.Struct, frozen=True):
    """Where a restored resource came from, and which moment it is of; `exact`: to the commit."""

    resource: str
    snapshot: str
    moment: int
    exact: bool


class RestoredInfo(msgspec.Struct, frozen=True):
    """A branch that was brought back, or a home that was rebuilt."""

    message: str
    app: str
    branch: str
    seconds: float
    files: int
    bytes: int
    sources: tuple[Source, ...]
    next: str

    def draw(self, columns: int) -> str:
        """Return what came back, and from when."""
        import datetime  # noqa: PLC0415 (not for help)

        lines = [self.message]
        for each in self.sources:
            moment = datetime.datetime.fromtimestamp(each.moment / 1e9, datetime.UTC)
            how = "exactly" if each.exact else "the last copy before"
            lines.append(f"  {each.resource}: {moment:%Y-%m-%d %H:%M:%S} UTC ({how})")
        return "\n".join([*lines, f"Next: {self.next}"])


def _drawn(drill: DrillInfo) -> str:
    verdict = "proven" if drill.ok else f"NOT PROVEN: {drill.problem}"
    counts = ", ".join(
        f"{name}: {' '.join(_count(drill, name, unit, count) for unit, count in found.items())}"
        for name, found in drill.counts.items()
    )
    return (
        f"{drill.app}/{drill.branch} from {drill.snapshot} ({drill.store}): {verdict}\n"
        f"  {drill.files} files, {drill.bytes} bytes restored in {drill.restore_seconds:.1f} s, "
        f"started in {drill.start_seconds:.1f} s\n"
        f"  {counts or 'nothing was started'}\n"
        f"  entry {drill.entry} of the audit log, signed"
    )


def _count(drill: DrillInfo, name: str, unit: str, count: int) -> str:
    """Return a count, beside that of the living resource where it is another by now."""
    living = drill.living.get(name, {}).get(unit, count)
    return f"{count} {unit}" if living == count else f"{count} {unit} ({living} living)"


def _wrapped(text: str, columns: int) -> list[str]:
    import textwrap  # noqa: PLC0415 (not for help)

    return textwrap.wrap(text, columns)
