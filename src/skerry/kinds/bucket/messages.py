"""What the words of the kind take and return."""

from __future__ import annotations

import msgspec


class Nothing(msgspec.Struct, frozen=True):
    """No parameters."""


class ListParams(msgspec.Struct, frozen=True):
    """What to list: keys below a prefix, up to a delimiter, after a key."""

    bucket: str = ""
    prefix: str = ""
    delimiter: str = ""
    after: str = ""


class Entry(msgspec.Struct, frozen=True):
    """An object in a listing; `size_bytes` and an ISO time."""

    key: str
    size_bytes: int
    etag: str
    modified: str


class Listing(msgspec.Struct, frozen=True):
    """A page of objects and common prefixes; `next` is where the following page starts, or ''."""

    objects: list[Entry]
    prefixes: list[str]
    next: str


class KeyParams(msgspec.Struct, frozen=True):
    """Which object."""

    key: str
    bucket: str = ""


class PresignParams(msgspec.Struct, frozen=True):
    """Which object, for what method, for how long, and at which endpoint."""

    key: str
    bucket: str = ""
    method: str = "GET"
    expires_seconds: int = 3600
    endpoint: str = ""


class UserParams(msgspec.Struct, frozen=True):
    """A further user, who may do what bucket policies and ACLs allow."""

    name: str
    email: str = ""


class Key(msgspec.Struct, frozen=True):
    """A user's credential; `user_id` is the canonical id that ACLs and policies name."""

    name: str
    user_id: str
    access_key: str
    secret_key: str
