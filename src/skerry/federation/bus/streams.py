"""Streams: made with an explicit place, and read back, because tags are promises of a program.

What a stream is made with is compared with what the servers say of it afterwards: its cluster, its
place, and on which servers its copies lie. One that lies anywhere else is not used.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from skerry.federation.bus.client import Client
from skerry.kernel.errors import CONFLICT, DENIED, NOT_FOUND, SkerryError

COPIES_MAX = 3
SECONDS = 5.0
_LETTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream of a jurisdiction: its subjects, and how much it holds."""

    name: str
    subjects: tuple[str, ...]
    bytes_max: int
    last_only: bool = False
    """Whether it holds just the last message of each subject."""

    def config(self, jurisdiction: str, copies: int) -> dict[str, Any]:
        """Return what JetStream is asked for."""
        return {
            "name": self.name,
            "subjects": list(self.subjects),
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "num_replicas": copies,
            "max_bytes": self.bytes_max,
            "max_msgs_per_subject": 1 if self.last_only else -1,
            "deny_delete": True,
            "allow_direct": False,
            "placement": {
                "cluster": jurisdiction,
                "tags": [f"jurisdiction:{jurisdiction.lower()}"],
            },
        }


async def ensure(
    client: Client,
    stream: Stream,
    jurisdiction: str,
    members: Collection[str],
    unwelcome: Collection[str] = (),
) -> tuple[str, ...]:
    """Make a stream if it is not there, with a copy on three members or on all; read it back.

    A copy on a server that is `unwelcome` is taken from it. Returns the names of the servers that
    have a copy. Raises DENIED if one of them, or the place, is not as asked for, and what the API
    raises.
    """
    copies = min(COPIES_MAX, len(members))
    wanted = stream.config(jurisdiction, copies)
    try:
        found = await client.api(f"STREAM.INFO.{stream.name}", seconds=SECONDS)
        if found["config"]["num_replicas"] != copies:
            found = await client.api(f"STREAM.UPDATE.{stream.name}", wanted, SECONDS)
    except SkerryError as error:
        if error.problem is not NOT_FOUND:
            raise
        found = await _create(client, stream, wanted)
    # A server that was removed while copies were made fewer may be counted for ever.
    for name in (each for each in unwelcome if _has_copy(found, each)):
        await client.api(f"STREAM.PEER.REMOVE.{stream.name}", {"peer": name}, SECONDS)
        found = await client.api(f"STREAM.INFO.{stream.name}", seconds=SECONDS)
    return check(found, wanted, members)


async def _create(client: Client, stream: Stream, wanted: dict[str, Any]) -> dict[str, Any]:
    """Make a stream; another member may be a moment faster."""
    try:
        await client.api(f"STREAM.CREATE.{stream.name}", wanted, SECONDS)
    except SkerryError as error:
        if error.problem is not CONFLICT:
            raise
    return await client.api(f"STREAM.INFO.{stream.name}", seconds=SECONDS)


def holders(info: dict[str, Any]) -> tuple[str, ...]:
    """Return the servers that have a copy, as the servers say."""
    cluster = info.get("cluster") or {}
    names = {cluster.get("leader", "")} | {each["name"] for each in cluster.get("replicas") or ()}
    return tuple(sorted(names - {""}))


def _has_copy(info: dict[str, Any], name: str) -> bool:
    """Tell whether a server counts as one with a copy, by its name or by the id made of that.

    Of a removed server the others know the id only: eight letters of the name's SHA-256.
    """
    digest = hashlib.sha256(name.encode()).digest()[:8]
    letters = "".join(_LETTERS[each % len(_LETTERS)] for each in digest)
    return any(each == name or f"peerID: {letters}" in each for each in holders(info))


def check(
    info: dict[str, Any], wanted: dict[str, Any], members: Collection[str]
) -> tuple[str, ...]:
    """Return who holds a stream; raise DENIED unless it lies where it was asked to."""
    found, config = holders(info), info["config"]
    strangers = sorted(set(found) - set(members))
    placed = config.get("placement") == wanted["placement"]
    cluster = (info.get("cluster") or {}).get("name")
    if strangers or not placed or cluster != wanted["placement"]["cluster"]:
        raise DENIED(
            f"The stream {wanted['name']} does not lie where it must.",
            why=f"It is in {cluster}, placed by {config.get('placement')}, "
            f"and has copies on {', '.join(found) or 'no server that is known'}.",
            hint="skerry node audit",
        )
    return found
