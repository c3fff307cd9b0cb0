"""What is known of providers: dated data with its sources, in `profiles/*.toml`.

Where a provider is and whose laws reach it is the business of the node's policy, which knows it
under the name in `operator`; a profile says where prompts are processed and what they cost.
"""

from __future__ import annotations

import functools
import tomllib
from importlib import resources

import msgspec

from skerry.kinds.models.config import Price


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where facts come from, when they were read, and how well they are supported."""

    url: str
    date: str
    about: str
    evidence: str = "declared"


class Quirks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In what a provider differs from the OpenAI shape.

    `limit` is the name of the limit on output tokens that it understands. `stream_usage`: whether
    it reports usage in a stream when asked. `auth` is the scheme before the key. `drop` are
    parameters that it refuses. `dimensions`: whether it shortens embeddings itself. `base64`:
    whether it can write embeddings so. `developer`: whether it knows that role.
    """

    limit: str = "max_tokens"
    stream_usage: bool = True
    auth: str = "Bearer"
    drop: tuple[str, ...] = ()
    dimensions: bool = False
    base64: bool = False
    developer: bool = False


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider as it was known on `date`; nothing here was tried against it."""

    name: str
    title: str
    base_url: str
    date: str
    operator: str = ""
    country: str = ""
    secret: str = ""
    currency: str = "USD"
    quirks: Quirks = Quirks()
    prices: dict[str, Price] = {}
    sources: tuple[Source, ...] = ()
    note: str = ""


@functools.cache
def profiles() -> dict[str, Profile]:
    """Return every profile by its name."""
    folder = resources.files("skerry.kinds.models") / "profiles"
    found = {}
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if file.name.endswith(".toml"):
            table = tomllib.loads(file.read_text(encoding="utf-8"))
            profile = msgspec.convert(table, Profile)
            found[profile.name] = profile
    return found
