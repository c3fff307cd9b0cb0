"""The state of backups in figures, and what is red about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.money import show
from skerry.node.backup.destination import Destination
from skerry.node.backup.history import History
from skerry.node.backup.plan import BackupConfig, interval_seconds

_MICRO = 1_000_000
_TERABYTE = 10**12
_GRACE_SECONDS = 3600.0


class StoreStatus(msgspec.Struct, frozen=True):
    """One store: the last backup, the last proven restore, what could be lost, how long it takes.

    `rpo_seconds` is the most that was at risk between two backups, `lag_seconds` the longest that
    it took to send what changed between them, `at_risk_seconds` what is at risk now;
    `rto_seconds` is how long the last proven restore took until everything ran again.
    """

    store: str
    url: str
    last_backup: int | None
    at_risk_seconds: float | None
    rpo_seconds: float | None
    last_sent: int | None
    lag_seconds: float | None
    last_proven: int | None
    rto_seconds: float | None
    last_checked: int | None
    bytes: int | None
    cost: str
    problems: tuple[str, ...] = ()


class Status(msgspec.Struct, frozen=True):
    """Backups as they stand; bad news if anything is red."""

    ok: bool
    schedule: str
    drill: str
    stores: tuple[StoreStatus, ...]
    problems: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 if something is red."""
        return 0 if self.ok else 1

    def draw(self, columns: int) -> str:
        """Return a paragraph for each store."""
        lines = [
            f"Backups: {'well' if self.ok else 'RED'}   schedule {self.schedule}   "
            f"drill {self.drill}"
        ]
        lines += [f"  ! {each}" for each in self.problems]
        for each in self.stores:
            lines += _drawn(each)
        return "\n".join(lines)


def report(
    stores: dict[str, Destination],
    plan: BackupConfig,
    history: History,
    safe: Mapping[str, int | None],
    now: int,
    currency: str,
) -> Status:
    """Judge what is known; `safe` are the moments before which nothing is missing in a store."""
    found = tuple(
        _store(name, store, plan, history, safe.get(name), now, currency)
        for name, store in stores.items()
    )
    problems = () if stores else ("It is not said where backups go: skerry backup to …",)
    return Status(
        ok=not problems and not any(each.problems for each in found),
        schedule=plan.schedule,
        drill=plan.drill,
        stores=found,
        problems=problems,
    )


def _store(
    name: str,
    store: Destination,
    plan: BackupConfig,
    history: History,
    safe: int | None,
    now: int,
    currency: str,
) -> StoreStatus:
    saved = history.last_saved(name)
    proof = history.last_proof(name)
    shipped = history.last_shipped(name)
    measured = history.measured.get(name)
    checked = history.checked.get(name)
    size = measured.bytes if measured else None
    scope = saved.scope if saved else "node"
    cost = ""
    if size is not None and store.price:
        cost = f"{show(int(size / _TERABYTE * store.price * _MICRO), currency)} a month"
    return StoreStatus(
        store=name,
        url=store.url,
        last_backup=saved.cut if saved else None,
        at_risk_seconds=_since(max(saved.cut, safe or 0), now) if saved else None,
        rpo_seconds=history.rpo_seconds(name, scope),
        last_sent=shipped.time if shipped else None,
        lag_seconds=history.lag_seconds(name),
        last_proven=proof.time if proof else None,
        rto_seconds=history.rto_seconds(name),
        last_checked=checked.time if checked else None,
        bytes=size,
        cost=cost,
        problems=tuple(_problems(name, plan, history, now)),
    )


def _problems(name: str, plan: BackupConfig, history: History, now: int) -> list[str]:
    """Return what is red: no backup or drill, an old one, one that failed."""
    moment = datetime.fromtimestamp(now / NANOSECONDS, UTC)
    found = []
    saved, proof = history.last_saved(name), history.last_proof(name)
    every = interval_seconds(plan.schedule, moment)
    if saved is None:
        found.append("There is no backup yet: skerry backup now")
    elif every and _since(saved.cut, now) > 2 * every + _GRACE_SECONDS:
        found.append(f"The last backup is {_hours(saved.cut, now)} old.")
    for what in ("backup", "drill", "check", "changes"):
        failed = history.last_failure(what, name)
        if failed is not None and what == "changes":
            found.append(f"What changed since the last backup is not sent: {failed.message}")
        elif failed is not None:
            found.append(f"The last {what} failed: {failed.message}")
    latest = history.last_proof(name, good=False)
    if latest is not None and not latest.ok:
        found.append(f"The last drill found: {latest.problem}")
    every = interval_seconds(plan.drill, moment)
    if proof is None:
        found.append("No restore has been proven: skerry backup drill")
    elif not every or _since(proof.time, now) > 1.5 * every + _GRACE_SECONDS:
        found.append(
            f"The drill is overdue: the last proven restore is {_hours(proof.time, now)} old."
        )
    return found


def _since(then: int, now: int) -> float:
    return round(max(0, now - then) / NANOSECONDS, 3)


def _hours(then: int, now: int) -> str:
    return f"{_since(then, now) / 3600:.1f} h"


def _drawn(store: StoreStatus) -> list[str]:
    def moment(time: int | None) -> str:
        if time is None:
            return "never"
        return f"{datetime.fromtimestamp(time / NANOSECONDS, UTC):%Y-%m-%d %H:%M:%S} UTC"

    def seconds(value: float | None) -> str:
        return "not measured yet" if value is None else f"{value:.0f} s"

    risk = "everything" if store.at_risk_seconds is None else f"{store.at_risk_seconds:.0f} s"
    size = "not measured yet" if store.bytes is None else f"{store.bytes / 1e6:.1f} MB"
    lines = [
        f"{store.store}: {store.url}",
        f"  last backup {moment(store.last_backup)}; at risk now {risk}, "
        f"at most between backups (RPO): {seconds(store.rpo_seconds)}",
        f"  changes last sent {moment(store.last_sent)}"
        + (f"; sending takes {store.lag_seconds:.0f} s" if store.lag_seconds else ""),
        f"  last proven restore {moment(store.last_proven)}; how long one takes (RTO): "
        f"{seconds(store.rto_seconds)}",
        f"  size {size}{f', {store.cost}' if store.cost else ''}; "
        f"data last read {moment(store.last_checked)}",
    ]
    return [*lines, *(f"  ! {each}" for each in store.problems)]
