"""Names of apps, branches, kinds and resources, and how they are written together.

A name is 1 to 40 lower-case letters, digits and single hyphens, and starts with a letter. The
double hyphen is reserved: it joins names in a host (`pr-42--newsroom.localhost`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from skerry.kernel.errors import INVALID

MAIN = "main"
"""The branch that is production."""

SECRET_NAMES = "Capitals, digits and underscores, first a capital; at most 64."  # noqa: S105
"""What may name a secret, for people."""

_NAMED = 50
"""How many names an error lists at most: an app may have a thousand branches."""

_SECRET_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_NAME = re.compile(r"[a-z](?:-?[a-z0-9]){0,39}")


class ResourceRef(msgspec.Struct, frozen=True, order=True):
    """Which resource: `(app, branch, kind, name)`."""

    app: str
    branch: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.app}/{self.branch}/{self.kind}/{self.name}"


def is_name(text: str) -> bool:
    """Tell whether `text` may name an app, a branch or a resource."""
    return len(text) <= 40 and _NAME.fullmatch(text) is not None


def is_secret_name(text: str) -> bool:
    """Tell whether `text` may name a secret: see `SECRET_NAMES`."""
    return _SECRET_NAME.fullmatch(text) is not None


def check_name(text: str, what: str) -> str:
    """Return `text` if it may name a `what`; raise INVALID if not."""
    if not is_name(text):
        raise INVALID(
            f"{text!r} cannot name {what}.",
            why="A name is 1 to 40 lower-case letters, digits and single hyphens, "
            "and starts with a letter.",
        )
    return text


def reader_name(app: str) -> str | None:
    """Return the name by which the copy of an app is read; None if there is no room for it."""
    name = f"{app}-ro"
    return name if is_name(name) else None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a misspelt one most likely meant."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence for an error about an unknown name."""
    options = sorted(known)
    guess = nearest(name, options)
    if guess:
        return f"Did you mean {guess}?"
    if not options:
        return "There are none yet."
    more = len(options) - _NAMED
    ending = f" and {more} more" if more > 0 else ""
    return f"Known are: {', '.join(options[:_NAMED])}{ending}."


def host_label(app: str, branch: str, resource: str | None = None) -> str:
    """Return the host label that selects a branch of an app, or one resource of it."""
    if resource is not None:
        return f"{resource}--{branch}--{app}"
    return app if branch == MAIN else f"{branch}--{app}"


@lru_cache(maxsize=4096)
def parse_host_label(label: str) -> tuple[str, str, str | None] | None:
    """Return (app, branch, resource) for a host label, or None if it is none of ours."""
    parts = label.split("--")
    if not 1 <= len(parts) <= 3 or not all(is_name(part) for part in parts):
        return None
    if len(parts) == 1:
        return parts[0], MAIN, None
    if len(parts) == 2:
        return parts[1], parts[0], None
    return parts[2], parts[1], parts[0]
