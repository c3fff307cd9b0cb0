"""The tokens of log-ins, kept for the user of this machine by the node's address."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from skerry.kernel.errors import CORRUPT


def kept(url: str) -> str:
    """Return the token of a log-in; '' if there is none."""
    return _read().get(_key(url), "")


def keep(url: str, token: str) -> None:
    """Keep the token of a log-in, where only this user may read it; '' forgets it."""
    from skerry.node.home import write_secret  # noqa: PLC0415 (only here)

    found = _read()
    found.pop(_key(url), None)
    if token:
        found[_key(url)] = token
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_secret(path, msgspec.json.encode(found))


def _path() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "skerry" / "logins.json"


def _key(url: str) -> str:
    return url.rstrip("/")


def _read() -> dict[str, str]:
    path = _path()
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise CORRUPT(f"{path} cannot be read.", why=str(error), hint=f"rm {path}") from error
