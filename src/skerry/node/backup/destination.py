"""Where backups go: any S3, another node's bucket, a local path, or SFTP; and how it is written.

    s3://bucket/path      with an endpoint, such as https://hel1.your-objectstorage.com
    sftp://user@host/path with the ssh client's own keys
    /mnt/backup, file:///mnt/backup
    rest:https://host/    a restic REST server, such as one that only ever appends

Credentials are kept in a file of the node that nobody else may read; they travel to the engine in
its environment and never in an argument list.
"""

from __future__ import annotations

import posixpath
import shlex
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from skerry.kernel.errors import INVALID

PACK_MIB = 64
"""Few, large objects: stores limit requests a second and objects a bucket."""

CONNECTIONS = 4
_SCHEMES = "Write s3://bucket/path, sftp://user@host/path, rest:https://host/, or a local path."
_PORTS = {"http": 80, "https": 443, "sftp": 22}


class Destination(msgspec.Struct, frozen=True):
    """One store, with all that is needed to reach it and to read what lies there.

    `append_only`: this node never removes a backup from it; whoever owns the store does, or its
    rules. `identity` is the file of the ssh key for SFTP; without it ssh uses its own. `price` is
    what a terabyte costs in a month, in the node's currency. `requests_per_second` is the most that
    S3 and REST stores see, over all connections; 0 for no bound.
    """

    url: str
    password: str
    endpoint: str = ""
    region: str = ""
    access_key: str = ""
    secret_key: str = ""
    append_only: bool = False
    lock_days: int = 0
    pack_mib: Annotated[int, msgspec.Meta(ge=4, le=128)] = PACK_MIB
    connections: Annotated[int, msgspec.Meta(ge=1, le=64)] = CONNECTIONS
    upload_kib_s: int = 0
    requests_per_second: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0
    identity: str = ""
    country: str = ""
    provider: str = ""
    price: float = 0.0

    def __repr__(self) -> str:
        return f"Destination({self.url!r})"

    @property
    def repository(self) -> str:
        """The name under which the engine knows it."""
        parts = urlsplit(self.url)
        if parts.scheme == "s3":
            place = posixpath.join(parts.netloc, parts.path.strip("/"))
            return f"s3:{self.endpoint.rstrip('/')}/{place.rstrip('/')}"
        if parts.scheme == "sftp":
            return self.url
        return self.url.removeprefix("file://")

    @property
    def kind(self) -> str:
        """The sort of store: `s3`, `sftp`, `rest` or `local`."""
        scheme = urlsplit(self.url).scheme
        return scheme if scheme in ("s3", "sftp", "rest") else "local"

    @property
    def address(self) -> tuple[str, int] | None:
        """The host and port that must answer; None for a local path."""
        url = {"s3": self.endpoint, "rest": self.url.removeprefix("rest:")}.get(self.kind, self.url)
        parts = urlsplit(url)
        if self.kind == "local" or not parts.hostname:
            return None
        return parts.hostname, parts.port or _PORTS.get(parts.scheme, 443)

    def environment(self) -> dict[str, str]:
        """Return the variables with which the engine reaches it; the password is not among them."""
        found = {"RESTIC_REPOSITORY": self.repository}
        if self.kind == "s3":
            found["AWS_ACCESS_KEY_ID"] = self.access_key
            found["AWS_SECRET_ACCESS_KEY"] = self.secret_key
            found["AWS_DEFAULT_REGION"] = self.region or "us-east-1"
        return found

    def options(self, known_hosts: Path) -> list[str]:
        """Return the engine's flags for the store: size of objects, and how many at a time.

        ssh never asks; it keeps the key of a host that it sees for the first time in a file.
        """
        flags = ["--pack-size", str(self.pack_mib)]
        if self.kind != "local":
            flags += ["-o", f"{self.kind}.connections={self.connections}"]
        if self.kind == "s3":
            flags += ["-o", "s3.bucket-lookup=path"]
        if self.kind == "sftp":
            flags += ["-o", f"sftp.command={self._ssh(known_hosts)}"]
        if self.upload_kib_s:
            flags += ["--limit-upload", str(self.upload_kib_s)]
        return flags

    def _ssh(self, known_hosts: Path) -> str:
        parts = urlsplit(self.url)
        words = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new"]
        words += ["-o", f"UserKnownHostsFile={known_hosts}"]
        words += ["-o", "IdentitiesOnly=yes", "-i", self.identity] if self.identity else []
        words += ["-p", str(parts.port)] if parts.port else []
        words += ["-l", parts.username] if parts.username else []
        return shlex.join([*words, parts.hostname or "", "-s", "sftp"])


def check(destination: Destination) -> Destination:
    """Return a destination that can be used as it stands; raise INVALID if it cannot."""
    parts = urlsplit(destination.url)
    if parts.password:
        raise INVALID("A destination's URL holds no password.", why="URLs end up in logs.")
    if destination.lock_days and destination.kind != "s3":
        raise INVALID(
            "Only S3 stores can lock objects.",
            hint=f"skerry backup to {destination.url} --append-only",
        )
    if destination.requests_per_second and destination.kind not in ("s3", "rest"):
        raise INVALID(
            "Only requests to S3 and REST stores can be bounded.",
            why="A path has none, and SFTP sends packets, not requests.",
            hint=f"skerry backup to {destination.url} --connections 2 --upload-kib-s 4096",
        )
    if destination.kind == "local":
        path = destination.repository
        if parts.scheme not in ("", "file") or not path.startswith("/"):
            raise INVALID(f"{destination.url!r} is no destination of backups.", why=_SCHEMES)
        return destination
    if destination.kind == "s3":
        _check_s3(destination)
    if destination.kind == "sftp" and not (parts.hostname and parts.path.strip("/")):
        raise INVALID(f"{destination.url!r} names no host or no path.", why=_SCHEMES)
    return destination


def _check_s3(destination: Destination) -> None:
    endpoint = urlsplit(destination.endpoint)
    if not urlsplit(destination.url).netloc:
        raise INVALID("The destination names no bucket.", why=_SCHEMES)
    if endpoint.scheme not in ("http", "https") or not endpoint.netloc:
        raise INVALID(
            f"{destination.url} needs the URL of its S3 endpoint.",
            hint=f"skerry backup to {destination.url} --endpoint https://…",
        )
    if not (destination.access_key and destination.secret_key):
        raise INVALID(
            f"{destination.url} needs an access key and a secret key.",
            why="Nothing is taken from the environment of the node unasked.",
            hint=f"skerry backup to {destination.url} --access-key … --secret-key …",
        )
