"""Data keys on every surface: who holds what wraps them, and how they end."""

from __future__ import annotations

from typing import Annotated

import msgspec

from skerry.kernel.commands import AppName, Command, Done, Nothing, Params, about
from skerry.kernel.service import Service


class Hold(Params, frozen=True):
    """Parameters of `keys.hold`: one of a file's folder, an age folder or a service."""

    name: Annotated[str, about("what to call it", positional=True)]
    file: Annotated[str, about("a folder outside the home: a key a file", path=True)] = ""
    age: Annotated[str, about("a folder outside the home: an age identity a file", path=True)] = ""
    transit: Annotated[str, about("the URL of an OpenBao or Vault")] = ""
    token_file: Annotated[str, about("the file with the service's token", path=True)] = ""
    ca_file: Annotated[str, about("the authority of the service's certificate", path=True)] = ""
    mount: Annotated[str, about("where its transit engine is mounted")] = "transit"
    default: Annotated[bool, about("new apps' keys are wrapped there")] = False


class OfKeys(Params, frozen=True):
    """Parameters of `keys.list` and `keys.encrypt`."""

    app: Annotated[str | None, about("of this app only")] = None


class KeyOf(Params, frozen=True):
    """Parameters of `keys.rotate` and `keys.destroy`."""

    app: AppName


class Wrap(Params, frozen=True):
    """Parameters of `keys.wrap`."""

    app: AppName
    holder: Annotated[str, about("who shall hold the wrapping key", positional=True)]


class KeyInfo(msgspec.Struct, frozen=True):
    """A data key in a list; times are nanoseconds since 1970 (UTC)."""

    app: str
    key: str
    holder: str
    place: str
    state: str
    made: int


class HolderInfo(msgspec.Struct, frozen=True):
    """A holder in a list."""

    name: str
    kind: str
    place: str
    keys: int
    default: bool
    reach: str


class Receipt(msgspec.Struct, frozen=True):
    """What was destroyed, and the entry of the audit log that says so."""

    app: str
    keys: tuple[str, ...]
    entry: int
    said: tuple[str, ...]
    reach: str
    next: str


SERVICE = Service(
    name="keys",
    summary="Hold the data keys of apps outside, and end them for good",
    commands=(
        Command("keys.list", "List data keys", OfKeys, list[KeyInfo], empty="No app has one yet."),
        Command("keys.holders", "List who holds what wraps them", Nothing, list[HolderInfo]),
        Command("keys.hold", "Take in a holder outside this node", Hold, Done, mutates=True),
        Command("keys.rotate", "Give an app a new data key", KeyOf, Done, mutates=True),
        Command(
            "keys.encrypt",
            "Encrypt state on this disk under the keys in use",
            OfKeys,
            Done,
            mutates=True,
        ),
        Command("keys.wrap", "Have another holder wrap an app's keys", Wrap, Done, mutates=True),
        Command("keys.unlock", "Ask the holders again for what is locked", Nothing, Done, True),
        Command(
            "keys.destroy",
            "Destroy an app's keys: what they encrypt is lost for ever",
            KeyOf,
            Receipt,
            mutates=True,
            confirm="Backups, sealed exports and secrets of {app} can never be read again.",
        ),
    ),
    handler="handler:Handler",
    checks="health:checks",
)
