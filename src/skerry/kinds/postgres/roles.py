"""Roles: who may log in, and what the node must know of them while the database sleeps.

`roles.json` in the state directory holds the SCRAM verifiers of the roles that can log in. It is
written by the engine and read by the node, which does not trust it: a cell could have written it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

import msgspec

from skerry.kernel.journal import journal_of
from skerry.kernel.keys import Keys
from skerry.kinds._shared.pgwire.scram import (
    Credential,
    Verifier,
    make_credential,
    make_verifier,
    parse_verifier,
)

SUPERUSER = "skerry"
"""Skerry's own role; it cannot log in through the node's port."""

APPLICATION = "app"
"""The role of functions and people, and the name of its database."""

ROLES_FILE = "roles.json"
_MAX_FILE_BYTES = 4 << 20


class Roles(msgspec.Struct, frozen=True):
    """The content of `roles.json`: whose it is, and a verifier a role in PostgreSQL's form."""

    id: str
    verifiers: dict[str, str]


def password(keys: Keys) -> str:
    """Return the application role's password on this branch."""
    return keys.secret("password")


def superuser_password(keys: Keys) -> str:
    """Return the superuser's password, the same on all branches."""
    return keys.shared("superuser")


def application_verifier(keys: Keys) -> Verifier:
    """Return the application role's verifier; engine and node derive the same one.

    Costs some milliseconds of CPU.
    """
    return make_verifier(password(keys), _salt(keys.secret("salt")))


def superuser_credential(keys: Keys) -> Credential:
    """Return what logs the superuser in; costs some milliseconds of CPU."""
    return make_credential(superuser_password(keys), _salt(keys.shared("salt")))


def write(directory: Path, roles: Roles) -> None:
    """Replace `roles.json`, readable by its owner alone."""
    path = directory / ROLES_FILE
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(roles))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    journal_of(path).announce(path)


def read(directory: Path) -> Roles | None:
    """Return what `roles.json` holds, or None if it is missing or not what the engine writes."""
    try:
        descriptor = os.open(directory / ROLES_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE_BYTES:
            return None
        content = file.read(_MAX_FILE_BYTES)
    try:
        return msgspec.json.decode(content, type=Roles)
    except msgspec.DecodeError:
        return None


def verifier_of(roles: Roles | None, resource_id: str, keys: Keys, user: str) -> Verifier | None:
    """Return the verifier of a role, or None if nobody may log in as that.

    A file that came from another branch does not know this branch's application password, so the
    derived one counts until the engine has taken the directory over.
    """
    if user == SUPERUSER:
        return None
    if user == APPLICATION and (roles is None or roles.id != resource_id):
        return application_verifier(keys)
    text = roles.verifiers.get(user) if roles else None
    if text is None:
        return None
    try:
        return parse_verifier(text)
    except ValueError:
        return None


def _salt(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()[:16]
