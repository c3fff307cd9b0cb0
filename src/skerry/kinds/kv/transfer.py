"""Moving a namespace in and out as NDJSON, in the shape that Cloudflare's bulk calls take.

{"key":"a","value":"text"}
{"key":"b","value":"AP8=","base64":true,"expiration":1900000000,"metadata":{"n":1}}
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.errors import INVALID, SkerryError
from skerry.kinds.kv.store import Entry, Store, new_entry

FILE = "entries.ndjson"


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """A value in JSON; `base64` tells that it is written in base64."""

    key: str
    value: str
    base64: bool | None = False
    expiration: int | None = None
    expiration_ttl: int | None = None
    metadata: Any = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Item)


def export(store: Store, target: Path) -> None:
    """Write every entry to `entries.ndjson`."""
    with (target / FILE).open("wb") as file:
        for entry in store.entries():
            file.write(_encoder.encode(to_item(entry)) + b"\n")


def restore(store: Store, source: Path) -> None:
    """Replace everything by the entries of the one `.ndjson` file in `source`."""
    files = sorted(source.glob("*.ndjson"))
    if len(files) != 1:
        raise INVALID("The export holds no single .ndjson file.")
    with files[0].open("rb") as file:
        store.replace(_read(file, store.now()))


def to_item(entry: Entry) -> Item:
    """Return an entry in JSON's terms."""
    text, binary = as_text(entry.value)
    metadata = None if entry.metadata is None else msgspec.json.decode(entry.metadata)
    return Item(
        entry.key.decode(), text, base64=binary, expiration=entry.expires, metadata=metadata
    )


def from_item(item: Item, now: int) -> Entry:
    """Return the entry that JSON describes; raise INVALID or TOO_LARGE for a wrong one."""
    value: str | bytes = item.value
    if item.base64:
        try:
            value = base64.b64decode(item.value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise INVALID(f"The value of {item.key!r} is not base64.") from error
    return new_entry(
        item.key,
        value,
        now,
        metadata=item.metadata,
        expiration=item.expiration,
        expiration_ttl=item.expiration_ttl,
    )


def as_text(value: bytes) -> tuple[str, bool]:
    """Return a value as text, and whether that text is base64 because the value is no UTF-8."""
    try:
        return value.decode(), False
    except UnicodeDecodeError:
        return base64.b64encode(value).decode(), True


def _read(lines: Iterable[bytes], now: int) -> Iterator[Entry]:
    for number, line in enumerate(lines, start=1):
        try:
            item = _decoder.decode(line)
            if item.expiration is not None and item.expiration <= now:
                continue
            yield from_item(item, now)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise INVALID(f"Line {number} is not an entry.", why=str(error)) from error
        except SkerryError as error:
            raise INVALID(f"Line {number} is not an entry.", why=error.what) from error
