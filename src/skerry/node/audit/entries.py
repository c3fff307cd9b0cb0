"""What an entry of the audit log says: canonical JSON, numbered, and chained to the one before."""

from __future__ import annotations

import base64
import datetime
from typing import Any

import msgspec

from skerry.kernel.catalogue import ResourceRecord
from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.errors import CORRUPT
from skerry.kernel.events import AnyEvent, BranchCreated, ResourcesAdded
from skerry.kernel.events import VersionAdded as _VersionAdded
from skerry.kernel.policy import Decision, Fact, Request
from skerry.node.audit.tiles import ENTRY_BYTES_MAX

FACTS_MAX = 40
LIST_MAX = 512
TEXT_MAX = 2000


class Record(msgspec.Struct, frozen=True):
    """An entry: its index, its time (UTC), what sort it is, what it says, and the one before.

    `before` is the leaf hash of the entry before, in base64. `of` holds the fields of the sort.
    """

    n: int
    at: str
    what: str
    of: dict[str, Any]
    before: str


def encode(record: Record) -> bytes:
    """Return the canonical bytes: one line of JSON with sorted keys."""
    return msgspec.json.encode(record, order="sorted")


def fitted(record: Record) -> bytes:
    """Return the canonical bytes, with long lists and texts cut until they fit, and saying so."""
    line = encode(record)
    items = LIST_MAX
    while len(line) > ENTRY_BYTES_MAX:
        said = {**_cut(record.of, items), "cut": True}
        line = encode(msgspec.structs.replace(record, of=said))
        items //= 2
    return line


def _cut(value: Any, items: int) -> Any:
    if isinstance(value, str):
        return value[: max(items, 8) * 8]
    if isinstance(value, list):
        return [_cut(each, items) for each in value[:items]]
    if isinstance(value, dict):
        return {key[:100]: _cut(each, items) for key, each in list(value.items())[: max(items, 8)]}
    return value


def decode(data: bytes) -> Record:
    """Read an entry; raise CORRUPT if it is none."""
    try:
        return msgspec.json.decode(data, type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CORRUPT("An entry of the audit log is not well-formed.", why=str(error)) from error


def shown(leaf: bytes) -> str:
    """Return a hash as entries carry it."""
    return base64.b64encode(leaf).decode()


def moment(nanoseconds: int) -> str:
    """Return a time as entries carry it."""
    seconds, rest = divmod(nanoseconds, NANOSECONDS)
    whole = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03}Z"


def of_decision(request: Request, decision: Decision, repeated: int = 0) -> dict[str, Any]:
    """Return what an entry says of a decision that was acted on."""
    said: dict[str, Any] = {
        "principal": request.principal,
        "action": request.action,
        "place": request.where,
        "allowed": decision.allowed,
        "rules": list(decision.rules or (decision.rule,)),
        "reason": decision.reason[:TEXT_MAX],
        "facts": [_fact(each) for each in decision.facts[:FACTS_MAX]],
        "policy": decision.policy,
    }
    if decision.residency:
        said["residency"] = decision.residency
    for name in ("app", "branch", "kind", "resource"):
        if getattr(request, name):
            said[name] = getattr(request, name)
    if request.place is not None:
        said["provider"] = request.place.provider
        said["country"] = request.place.country
        said["host"] = request.place.host
    if request.encrypted:
        said["encrypted"] = True
    if repeated:
        said["repeated"] = repeated
    return said


def _fact(fact: Fact) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(fact)
    return {key: value for key, value in found.items() if value not in ("", None)}


def of_event(
    event: AnyEvent, sequence: int, digest: bytes, gone: list[ResourceRecord]
) -> dict[str, Any]:
    """Return what an entry says of an event of the catalogue's log, at its place there.

    `gone` are the resources that the event deletes.
    """
    kind = type(event).__struct_config__.tag
    said: dict[str, Any] = {
        "event": kind,
        "app": event.app,
        "log": "catalogue",
        "sequence": sequence,
        "digest": digest.hex(),
    }
    for name in ("branch", "parent", "source", "version", "name", "resource", "to", "home_name"):
        value = getattr(event, name, None)
        if value is not None:
            said[name] = value
    if isinstance(event, _VersionAdded):
        said["code"] = event.digest
        said["policy"] = msgspec.to_builtins(event.spec.policy)
        if event.spec.policy.cedar:
            said["policy"]["cedar"] = event.spec.policy.cedar[:TEXT_MAX]
    if isinstance(event, BranchCreated | ResourcesAdded):
        said["resources"] = [_resource(each) for each in event.resources]
    if gone:
        said["resources"] = [_resource(each) for each in gone]
    return said


def _resource(record: ResourceRecord) -> str:
    return f"{record.kind}/{record.name}/{record.id}"
