"""What a node's nats-server is told: whom it listens to, whom it calls, and what it may keep.

There is one cluster a **jurisdiction**. Clusters are joined by leaf connections, each pair of them
in an account of its own, which has no streams and to which nothing is exported: what is kept in one
jurisdiction is never sent to another by any setting of a stream. The jurisdiction whose name comes
first calls the other one, because calls in both directions would be a loop. Gossip is off
(`no_advertise`), because it would lead clients to servers that nobody named to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from skerry.federation.bus import nkeys
from skerry.federation.identity import Identity
from skerry.federation.peers import Door
from skerry.kernel.clock import Entropy
from skerry.node.home import write_secret

STORE_BYTES_MAX = 1 << 30
MEMORY_BYTES_MAX = 64 << 20
PAYLOAD_BYTES_MAX = 8 << 20
PING_SECONDS = 5
TLS_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another node's server: who it is, where it is, and the certificate that vouches for it."""

    id: str
    name: str
    jurisdiction: str
    public_key: bytes
    authority: str
    door: Door


@dataclass(frozen=True, slots=True)
class Plan:
    """A server among others: `members` are of its own jurisdiction, `abroad` of all others.

    It listens for other servers on `host`, and is reached by its door; clients of this node find it
    on the loopback port `client` (0: one of its choice).
    """

    name: str
    jurisdiction: str
    host: str
    door: Door
    client: int = 0
    members: tuple[Neighbour, ...] = ()
    abroad: tuple[Neighbour, ...] = ()


class Accounts:
    """The accounts of a server, and who may sign for their users.

    `inside` has the streams; only this node signs for its users here, so every other node speaks
    through its own server. `between` two jurisdictions goes what nodes of both may know; the nodes
    abroad sign for their own servers' users.
    """

    def __init__(self, identity: Identity, jurisdiction: str) -> None:
        self._identity = identity
        self._jurisdiction = jurisdiction
        self.system = _account("the system")
        self.inside = _account(f"inside {jurisdiction}")

    def between(self, other: str) -> str:
        """Return the account for this jurisdiction and another one."""
        return _account(f"between {' and '.join(sorted((self._jurisdiction, other)))}")

    def sort_of(self, account: str) -> str:
        """Return what an account carries: `system`, `inside`, or `between` jurisdictions."""
        return {self.system: "system", self.inside: "inside"}.get(account, "between")

    def operator(self) -> str:
        """Return the token of this node as operator: the server trusts nobody else."""
        return nkeys.operator_token(self._identity, self.system)

    def tokens(self, abroad: tuple[Neighbour, ...]) -> dict[str, str]:
        """Return each account's token."""
        own = _signs(self._identity.public_key)
        make = nkeys.account_token
        tokens = {
            self.system: make(self._identity, self.system, [own]),
            self.inside: make(self._identity, self.inside, [own], store_bytes=STORE_BYTES_MAX),
        }
        for other in sorted({each.jurisdiction for each in abroad}):
            signing = [_signs(each.public_key) for each in abroad if each.jurisdiction == other]
            account = self.between(other)
            tokens[account] = make(self._identity, account, [own, *signing])
        return tokens

    def user(self, account: str, key: nkeys.Signer) -> str:
        """Return the token of a user of an account whose key this is."""
        return nkeys.user_token(self._identity, account, nkeys.encode(nkeys.USER, key.public_key))


def _account(name: str) -> str:
    return nkeys.encode(nkeys.ACCOUNT, nkeys.nobodys(name))


def _signs(public_key: bytes) -> str:
    return nkeys.encode(nkeys.ACCOUNT, public_key)


def configuration(plan: Plan, accounts: Accounts, folder: Path) -> dict[str, Any]:
    """Return the configuration as values; the files that it names are `write_files`'s.

    A server that is alone in its jurisdiction keeps nothing: what it kept would not become part of
    the cluster that others form with it later.
    """
    whole = _common(plan, accounts, folder)
    if plan.members:
        whole |= _cluster(plan, folder)
    return whole


def _common(plan: Plan, accounts: Accounts, folder: Path) -> dict[str, Any]:
    return {
        "server_name": plan.name,
        "server_tags": [f"node:{plan.name}", f"jurisdiction:{plan.jurisdiction.lower()}"],
        "listen": f"127.0.0.1:{plan.client or -1}",
        "ports_file_dir": str(folder),
        "max_payload": PAYLOAD_BYTES_MAX,
        "ping_interval": f"{PING_SECONDS}s",
        "ping_max": 2,
        "write_deadline": "10s",
        "tls": _tls(folder, "own.pem"),
        "operator": accounts.operator(),
        "system_account": accounts.system,
        "resolver": "MEMORY",
        "resolver_preload": accounts.tokens(plan.abroad),
        "leafnodes": {
            "listen": at(plan.host, plan.door.leaf),
            "no_advertise": True,
            "tls": _tls(folder, "abroad.pem"),
            "remotes": [
                {
                    "urls": [f"tls://{at(each.door.host, each.door.leaf)}"],
                    "account": accounts.between(each.jurisdiction),
                    "credentials": str(folder / _credentials(each.jurisdiction)),
                    "tls": _tls(folder, "abroad.pem"),
                }
                for each in plan.abroad
                if plan.jurisdiction < each.jurisdiction
            ],
        },
    }


def _cluster(plan: Plan, folder: Path) -> dict[str, Any]:
    return {
        "jetstream": {
            "store_dir": str(folder / "jetstream"),
            "domain": plan.jurisdiction,
            "sync_interval": "always",
            "max_memory_store": MEMORY_BYTES_MAX,
            "max_file_store": STORE_BYTES_MAX,
        },
        "cluster": {
            "name": plan.jurisdiction,
            "listen": at(plan.host, plan.door.cluster),
            "advertise": at(plan.door.host, plan.door.cluster),
            "no_advertise": True,
            "tls": _tls(folder, "members.pem"),
            "routes": [f"tls://{at(each.door.host, each.door.cluster)}" for each in plan.members],
        },
    }


def _tls(folder: Path, trusted: str) -> dict[str, Any]:
    return {
        "cert_file": str(folder / "certificate.pem"),
        "key_file": str(folder / "key.pem"),
        "ca_file": str(folder / trusted),
        "verify": True,
        "timeout": TLS_SECONDS,
        "min_version": "1.3",
    }


def at(host: str, port: int) -> str:
    """Return a host and a port as a URL has them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _credentials(jurisdiction: str) -> str:
    return f"between-{jurisdiction}.creds"


def write_files(
    plan: Plan, accounts: Accounts, identity: Identity, entropy: Entropy, folder: Path
) -> Path:
    """Write all that a server reads, for this user only; return the configuration's path.

    Who may connect follows from the certificates that are trusted: a node that is bound no more is
    in none of the files.
    """
    pem = identity.certificate((plan.door.host, "127.0.0.1"))
    end = b"-----END PRIVATE KEY-----\n"
    key, _, certificate = pem.partition(end)
    own = identity.authority().decode()
    files = {
        "key.pem": key + end,
        "certificate.pem": certificate,
        "own.pem": own.encode(),
        "members.pem": "".join([own, *(each.authority for each in plan.members)]).encode(),
        "abroad.pem": "".join([own, *(each.authority for each in plan.abroad)]).encode(),
        "server.json": msgspec.json.format(
            msgspec.json.encode(configuration(plan, accounts, folder)), indent=1
        ),
    }
    for other in {each.jurisdiction for each in plan.abroad}:
        user = nkeys.Key(entropy.bytes(32))
        token = accounts.user(accounts.between(other), user)
        files[_credentials(other)] = nkeys.credentials(token, user).encode()
    for name, content in files.items():
        write_secret(folder / name, content, durable=False)
    return folder / "server.json"
