"""How a client says which database it means, and the lines that tell it so.

A *label* is `[<resource>--][<branch>--]<app>`, as in host names. It is taken from the TLS server
name, from `options=endpoint=<label>`, or from `@<label>` behind the database's or user's name; more
than one may be given if they agree. `-pooler` behind a label asks for transaction pooling.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from skerry.kernel.kind import Address, Resource
from skerry.kernel.names import host_label, parse_host_label
from skerry.kinds._shared.pgwire.messages import WireError
from skerry.kinds.postgres.roles import APPLICATION, password

_ENDPOINT = re.compile(r"(?:^|\s)(?:-c\s*|--)?(?:endpoint|project)(?:=|%3D)(\S+)", re.IGNORECASE)
POOLER = "-pooler"
_HINT = "Append @<app> or @<branch>--<app> to the database's name, or set options=endpoint=<label>."


@dataclass(frozen=True, slots=True)
class Target:
    """Which resource a client asks for, and the start-up parameters without that."""

    app: str
    branch: str
    name: str | None
    parameters: dict[str, str]
    label: str

    def pooled(self) -> Target | None:
        """Return the target that a `-pooler` label asks to pool, or None if it asks for none."""
        if not self.app.endswith(POOLER):
            return None
        app = self.app.removesuffix(POOLER)
        return Target(app, self.branch, self.name, self.parameters, self.label)


def find_target(
    parameters: dict[str, str], server_name: str | None, known: Callable[[str], bool]
) -> Target:
    """Read the label out of a start-up packet; raise WireError if it is missing or contradictory.

    The node itself may have a host name, so beside another label the server name counts only if it
    is `known` as one.
    """
    rest = dict(parameters)
    options = rest.get("options", "")
    labels = [found[1] for found in _ENDPOINT.finditer(options)]
    options = _ENDPOINT.sub("", options).strip()
    if options:
        rest["options"] = options
    else:
        rest.pop("options", None)
    rest.setdefault("database", rest["user"])
    for key in ("user", "database"):
        name, separator, label = rest[key].rpartition("@")
        if separator and parse_host_label(label) and name:
            rest[key] = name
            labels.append(label)
    if server_name and "." in server_name and not _is_number(server_name):
        label = server_name.split(".", 1)[0].lower()
        if not labels or known(label):
            labels.append(label)
    return _agree(labels, rest)


def _agree(labels: list[str], rest: dict[str, str]) -> Target:
    if not labels:
        raise WireError("08004", "the connection does not say which app it is for", hint=_HINT)
    if len(set(labels)) > 1:
        raise WireError(
            "08004", "inconsistent endpoint names", f"Found {' and '.join(sorted(set(labels)))}."
        )
    parsed = parse_host_label(labels[0])
    if parsed is None:
        raise WireError("08004", f'malformed endpoint name "{labels[0][:80]}"', hint=_HINT)
    return Target(*parsed, parameters=rest, label=labels[0])


def connection(resource: Resource, address: Address) -> dict[str, str]:
    """Return the fields of the clients' lines."""
    label = host_label(resource.ref.app, resource.ref.branch, resource.ref.name)
    host = urlsplit(address.http).hostname or "127.0.0.1"
    port = address.ports["pg"]
    secret = password(resource.keys)
    database = f"{APPLICATION}@{label}"
    tail = f"{APPLICATION}:{secret}@{_bracketed(host)}:{port}/{quote(database, safe='@')}"
    return {
        "url": f"postgresql://{tail}",
        "sqlalchemy_url": f"postgresql+psycopg://{tail}",
        "host": host,
        "port": str(port),
        "user": APPLICATION,
        "password": secret,
        "database": database,
        "endpoint": label,
        "server_name": address.hostname,
    }


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_number(name: str) -> bool:
    return name.replace(".", "").isdigit()
