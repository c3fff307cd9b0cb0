"""The workloads that a node knows, and how they are found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from skerry.kernel.errors import BUSY, NOT_FOUND
from skerry.kernel.ledger import Reading
from skerry.kernel.names import did_you_mean
from skerry.node.gpus import Gpu
from skerry.node.sandbox.identity import Range
from skerry.node.workload.record import Record
from skerry.node.workload.spec import State

WORKLOADS_MAX = 1000


class Registry:
    """Every workload of a node, by its id."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    def __iter__(self) -> Iterator[Record]:
        return iter(list(self._records.values()))

    def __contains__(self, record: object) -> bool:
        return isinstance(record, Record) and record.id in self._records

    def add(self, record: Record) -> None:
        """Know a workload from now on."""
        self._records[record.id] = record

    def drop(self, record: Record) -> None:
        """Know it no more."""
        self._records.pop(record.id, None)

    def check_room(self) -> None:
        """Raise BUSY if there are as many as a node may have."""
        if len(self._records) >= WORKLOADS_MAX:
            raise BUSY(
                f"A node has at most {WORKLOADS_MAX} workloads.", hint="skerry workload list"
            )

    def named(self, name: str) -> Record | None:
        """Return the workload of that name or id."""
        found = self._records.get(name)
        if found is not None:
            return found
        return next((each for each in self._records.values() if each.name == name), None)

    def find(self, name: str) -> Record:
        """Return the workload of that name or id; raise NOT_FOUND with the nearest name."""
        found = self.named(name)
        if found is None:
            names = [each.name for each in self._records.values()]
            raise NOT_FOUND(
                f"There is no workload {name}.",
                why=did_you_mean(name, names),
                hint="skerry workload list",
            )
        return found

    def labelled(self, labels: Mapping[str, str]) -> list[Record]:
        """Return those that have these labels, in the order in which they were made."""
        wanted = labels.items()
        chosen = [each for each in self if wanted <= each.order.spec.labels.items()]
        return sorted(chosen, key=lambda each: each.order.created)

    def free_user(self, users: Range | None) -> int | None:
        """Return a user of the machine that no workload has; raise BUSY if there is none."""
        if users is None:
            return None
        taken = {each.order.uid for each in self._records.values()}
        for slot in range(1, users.guests):
            uid = users.guest(slot).uid
            if uid not in taken:
                return uid
        raise BUSY("Every user id for workloads is taken.", hint="skerry workload list")

    def free_gpus(self, count: int, installed: list[Gpu]) -> tuple[int, ...]:
        """Return the numbers of GPUs that no workload has; raise BUSY if there are too few."""
        taken = self._taken_gpus()
        free = [each.minor for each in installed if each.minor not in taken]
        if len(free) < count:
            raise BUSY(
                f"{count} GPUs are asked for, and {len(free)} are free.",
                hint="skerry workload list",
            )
        return tuple(free[:count])

    def check_gpus(self, record: Record) -> None:
        """Raise BUSY if a GPU of a workload that has ended was given to another."""
        if record.order.gpus and self._taken_gpus(but=record) & set(record.order.gpus):
            raise BUSY(
                f"Another workload has the GPU of {record.name} now.", hint="skerry workload list"
            )

    def _taken_gpus(self, but: Record | None = None) -> set[int]:
        return {
            minor
            for each in self
            if each is not but and (each.kept.state != State.ENDED or each.connected)
            for minor in each.order.gpus
        }

    def port_socket(self, name: str, number: int | None = None) -> tuple[str, str, int] | None:
        """Return (name, unix socket, number) of an HTTP port of a workload: the first, or one."""
        record = next((each for each in self if each.name == name), None)
        if record is None:
            return None
        for port in record.order.spec.ports:
            if port.protocol == "http" and number in (None, port.number):
                path = f"{record.order.sockets}/{port.number}"
                return record.name, path, port.number
        return None

    def by_host(self, host: str) -> str | None:
        """Return the name of the workload that answers under a host name of its own."""
        for wanted in (host, f"*.{host.partition('.')[2]}"):
            for record in self:
                if wanted in record.order.spec.hosts and record.connected:
                    return record.name
        return None

    @property
    def any_hosts(self) -> bool:
        """Whether any workload has a host name of its own."""
        return any(each.order.spec.hosts for each in self)

    def running(self) -> int:
        """Return how many workloads have a keeper that lives."""
        return sum(each.connected for each in self)

    def accounts(self) -> set[str]:
        """Return the accounts that workloads are posted to."""
        return {account_of(each) for each in self}

    def readings(self) -> Iterator[Reading]:
        """Yield how far the counters of every workload have come, for the accountant."""
        for record in self:
            for unit, total in record.folder.counters().items():
                yield Reading(source_of(record), account_of(record), unit, total)


def source_of(record: Record) -> str:
    """Return the name of a workload's counters in the ledger."""
    return f"w-{record.id}"


def account_of(record: Record) -> str:
    """Return the account that a workload's use is posted to."""
    return record.order.spec.account or f"workload/{record.name}"
