"""A node's home: the directory with everything that it keeps, and the keys made at first start.

<home>/config.toml, facts.toml: what the operator says of the node, and of places
<home>/keys/     node.key, token, tls.pem, apps/: only the node's user may read them
<home>/log/      catalogue/, ledger/: the logs
<home>/volume/   one directory a branch: what is branched
<home>/volume.img  the file system mounted there, if the operator made one
<home>/apps/     <app>/<version>/: deployed code
<home>/environments/ <kind>/<name>/: what the operator installed for kinds
<home>/logs/     <app>/<branch>.log: what functions and engines said
<home>/spool/    exports and imports on their way
<home>/services/ <service>/: what services of the node keep
<run>/           sockets and meters of what is awake
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec

from skerry.kernel.clock import Entropy
from skerry.kernel.commands import about
from skerry.kernel.errors import CONFIG_INVALID, UNSUPPORTED
from skerry.kernel.territory import COUNTRIES, meant
from skerry.node.identity.settings import IdentityConfig

HTTP_PORT = 7878
_SOCKET_PATH_LIMIT = 107
_OPEN_TO_CELLS = 0o711
_LONGEST_SOCKET_NAME = len("/0123456789abcdef/.s.PGSQL.5432.lock")


class FederationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """`[federation]`: how this node stands among others."""

    host: Annotated[
        str, about("where the federation's ports listen; by default where the node does")
    ] = ""
    bus: Annotated[
        bool, about("whether nodes that are bound keep leases and a catalogue together")
    ] = False
    etcd: Annotated[
        tuple[str, ...], about("addresses of an etcd of yours that keeps the leases instead")
    ] = ()


class NodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """`<home>/config.toml`: what the operator says about the node; flags of `skerry up` win."""

    name: Annotated[str, about("the node's name; by default the machine's")] = ""
    country: Annotated[str, about("the country that it is in: SE")] = ""
    owner: Annotated[str, about("whose it is")] = ""
    at: Annotated[
        tuple[float, float] | None, about("where the machine is, in degrees north and east")
    ] = None
    tpm_handle: Annotated[str, about("the attestation key in its TPM, if it has one")] = ""
    labels: Annotated[dict[str, str], about("what else other nodes are told of it")] = {}
    host: Annotated[str, about('where to listen; "0.0.0.0" is everywhere')] = "127.0.0.1"
    http_port: Annotated[int, about("the port of HTTP; 0 is any")] = HTTP_PORT
    ports: Annotated[dict[str, int], about("ports of port wires and services, by name")] = {}
    domain: Annotated[str, about("apps are names below it")] = "localhost"
    public_url: Annotated[
        str,
        about(
            "where a web server in front of the node answers for the domain: https://example.org"
        ),
    ] = ""
    proxies: Annotated[
        tuple[str, ...],
        about("with public-url: from whose addresses X-Forwarded-For and -Proto are believed"),
    ] = ("127.0.0.1", "::1")
    engine_read: Annotated[
        tuple[str, ...],
        about(
            "folders of the machine that engines may read, such as weights of models; "
            "what lies there must be readable for every user"
        ),
    ] = ()
    engine_gpus: Annotated[
        int,
        about(
            "how many of the machine's GPUs engines share, the last ones; workloads have the rest"
        ),
    ] = 0
    currency: Annotated[str, about("the currency of prices")] = "EUR"
    prices: Annotated[
        dict[str, tuple[int, int]],
        about("by the unit of what is used: micro-units of money, per how many"),
    ] = {}
    federation: FederationConfig = FederationConfig()
    identity: IdentityConfig = IdentityConfig()


class Home:
    """The paths of a home."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.digest = hashlib.sha256(str(self.root).encode()).hexdigest()[:16]
        self.keys = self.root / "keys"
        self.logs = self.root / "logs"
        self.catalogue = self.root / "log/catalogue"
        self.ledger = self.root / "log/ledger"
        self.volume = self.root / "volume"
        self.image = self.root / "volume.img"
        self.facts = self.root / "facts.toml"
        self.apps = self.root / "apps"
        self.environments = self.root / "environments"
        self.spool = self.root / "spool"
        self.run = self._run_directory()
        self.socket = self.run / "api.sock"
        self.pid_file = self.root / "node.pid"

    def service(self, name: str) -> Path:
        """Return the directory of a service, made if need be; only the node's user may read it."""
        path = self.root / "services" / name
        for each in (path.parent, path):
            each.mkdir(exist_ok=True)
            each.chmod(0o700)
        return path

    def _run_directory(self) -> Path:
        """Return where sockets lie: in the home if their paths fit there, else in a short place."""
        run = self.root / "run"
        if len(str(run)) + _LONGEST_SOCKET_NAME <= _SOCKET_PATH_LIMIT:
            return run
        base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
        return Path(base) / f"skerry-{os.geteuid()}-{self.digest[:8]}"

    def create(self, entropy: Entropy) -> None:
        """Make what is missing, with its modes."""
        for path in (self.root, self.run, self.volume, self.apps, self.spool, self.environments):
            _make(path, _OPEN_TO_CELLS)
        for path in (self.keys, self.logs, self.catalogue, self.ledger):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o700)
        self._make_key("node.key", entropy.bytes(32))
        self._make_key("token", f"skn_{entropy.bytes(24).hex()}".encode())

    def renew_run(self, entropy: Entropy) -> Path:
        """Empty the directory of sockets at once; return what is left to be removed.

        Every branch that was awake once has left a directory there.
        """
        gone = self.run.with_name(f"{self.run.name}.gone")
        _make(gone, 0o700)
        self.run.rename(gone / entropy.bytes(8).hex())
        _make(self.run, _OPEN_TO_CELLS)
        return gone

    def _make_key(self, name: str, value: bytes) -> None:
        path = self.keys / name
        if path.exists():
            return
        write_secret(path, value)

    def node_key(self) -> bytes:
        """Return the key that every secret of the node is derived from."""
        return (self.keys / "node.key").read_bytes()

    def token(self) -> str:
        """Return the operator's token."""
        return (self.keys / "token").read_text().strip()

    def config(self) -> NodeConfig:
        """Read `config.toml`; raise CONFIG_INVALID if it is wrong."""
        path = self.root / "config.toml"
        if not path.exists():
            return NodeConfig()
        try:
            config = msgspec.convert(tomllib.loads(path.read_text()), NodeConfig)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise CONFIG_INVALID(f"{path}: {error}.", hint="skerry docs config") from error
        if config.country and config.country not in COUNTRIES:
            raise CONFIG_INVALID(
                f"{path}: country: expected a country code (SE), found {config.country!r}.",
                why=meant(config.country),
                hint="skerry docs config",
            )
        return config


def default_root() -> Path:
    """Return the home that is used when none is named: SKERRY_HOME, or the user's data folder."""
    named = os.environ.get("SKERRY_HOME")
    if named:
        return Path(named)
    if os.geteuid() == 0:
        return Path("/var/lib/skerry")
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "skerry"


def default_name() -> str:
    """Return a node name made from the machine's."""
    letters = [c if c.isalnum() else "-" for c in socket.gethostname().split(".")[0].lower()]
    name = "-".join(part for part in "".join(letters).split("-") if part)[:40]
    return name if name and name[0].isalpha() else f"node-{name}".rstrip("-")[:40]


def write_secret(path: Path, value: bytes, *, durable: bool = True) -> None:
    """Write a file that only this user may read, whole or not at all, and durable if wanted."""
    write_secret_parts(path, (value,), durable=durable)


def write_secret_parts(path: Path, parts: Iterable[bytes], *, durable: bool = True) -> None:
    """Write such a file from parts that need not be in memory all at once."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(parts)
        file.flush()
        if durable:
            os.fsync(descriptor)
    temporary.rename(path)
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a rename or a new file in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make(path: Path, mode: int) -> None:
    """Make a directory that is this user's, with its mode."""
    path.mkdir(parents=True, exist_ok=True)
    _own(path)
    path.chmod(mode)


def _own(path: Path) -> None:
    """Refuse a directory that another user could have prepared for us."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise UNSUPPORTED(
            f"{path} belongs to another user.",
            why="A node's home must be its own.",
            hint="skerry up --home <directory>",
        )
