"""What the kind `kv` declares."""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.kernel.manifest import (
    YES,
    Client,
    EngineInfo,
    Manifest,
    NoConfig,
    Remote,
    Unit,
    Verb,
    Wire,
    Word,
    not_yet,
)


class KeyParams(msgspec.Struct, frozen=True):
    """A key, up to 512 bytes of UTF-8."""

    key: str


class PutParams(msgspec.Struct, frozen=True):
    """A text to keep under a key; `expiration_ttl` in seconds; `metadata` is JSON, 1024 bytes."""

    key: str
    value: str
    expiration_ttl: int | None = None
    metadata: Any = None


class ListParams(msgspec.Struct, frozen=True):
    """Which keys to list; `cursor` is the one of the page before."""

    prefix: str = ""
    limit: int = 1000
    cursor: str = ""


class Value(msgspec.Struct, frozen=True):
    """A value; `base64` tells that it is not a text and is written in base64."""

    value: str
    base64: bool = False
    metadata: Any = None
    expiration: int | None = None


class Done(msgspec.Struct, frozen=True):
    """Whether the word changed anything."""

    changed: bool


class Key(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key as lists show it; `expiration` in seconds since 1970."""

    name: str
    expiration: int | None = None
    metadata: Any = None


class Page(msgspec.Struct, frozen=True):
    """A page of keys in the order of their bytes; `cursor` is empty on the last page."""

    keys: tuple[Key, ...]
    cursor: str = ""

    @property
    def list_complete(self) -> bool:
        """Tell whether this is the last page."""
        return not self.cursor


MANIFEST = Manifest(
    name="kv",
    summary="Values by key, with metadata and expiry.",
    stands_in_for="Cloudflare Workers KV",
    engine_info=EngineInfo(name="SQLite", version="3.46", module="apsw"),
    engine="engine:KvEngine",
    subject="subject:KvSubject",
    replicates=YES,
    replica="replica:StateReplica",
    readable=True,
    can={
        Verb.BRANCH: YES,
        Verb.BRANCH_AT: not_yet("Past values are not kept yet."),
        Verb.SLEEP: YES,
        Verb.PLACE: YES,
        Verb.METER: YES,
        Verb.BACKUP: YES,
        Verb.BIND: YES,
        Verb.EXPORT: YES,
        Verb.IMPORT: YES,
    },
    wires=(
        Wire(
            name="rest",
            protocol="Cloudflare API, Workers KV",
            summary="What Cloudflare's SDKs and wrangler speak.",
            application="wire:make",
            claim="claim:claim",
            gate="gate:gate",
            connection="claim:connection",
            clients=(
                Client(
                    name="cloudflare",
                    language="Python",
                    line='Cloudflare(base_url="{url}/client/v4", api_token="{token}")'
                    '.kv.namespaces.keys.list("{namespace_id}", account_id="{app}")',
                ),
                Client(
                    name="curl",
                    language="shell",
                    line='curl -H "Authorization: Bearer {token}" '
                    "{url}/client/v4/accounts/{app}/storage/kv/namespaces/{namespace_id}/keys",
                ),
            ),
        ),
    ),
    binding="binding:bind",
    remote=Remote("remote:bind", wire="rest"),
    config=NoConfig,
    units=(
        Unit("reads", "Values that were asked for."),
        Unit("writes", "Values that were written."),
        Unit("deletes", "Keys that were deleted."),
        Unit("lists", "Pages of keys that were listed."),
        Unit("bytes_written", "Bytes of keys, values and metadata that were written."),
    ),
    words=(
        Word("get", "Print a value.", KeyParams, Value, "read"),
        Word("put", "Keep a text under a key.", PutParams, Done, "write", mutates=True),
        Word("delete", "Delete a key.", KeyParams, Done, "write", mutates=True),
        Word("list", "List keys by prefix.", ListParams, Page, "read"),
    ),
    actions=("read", "write"),
    package=__package__ or "",
)
