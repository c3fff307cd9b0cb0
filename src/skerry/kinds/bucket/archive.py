"""Export and import: objects as files, and all that is known of them as lines of JSON.

    users.ndjson      a line a user: name, id (as the other files use it), e-mail address
    buckets.ndjson    a line a bucket, with its settings
    objects.ndjson    a line a version, oldest first: key, record, and the file of its content
    objects/<bucket>/<key>    current objects, where the key can be a path
    versions/<number>         other versions, and keys that cannot be a path

What a customer's key encrypts stays encrypted; all else is written in plain. Unfinished uploads and
secrets are not exported: access keys are derived anew where it is imported.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import apsw
import msgspec

from skerry.kernel.errors import BUSY, CORRUPT, INVALID
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.account import Account
from skerry.kinds.bucket.state import buckets, content, crypt, objects
from skerry.kinds.bucket.state.blobs import Blobs
from skerry.kinds.bucket.state.database import Db, rows
from skerry.kinds.bucket.state.objects import row_to_version
from skerry.kinds.bucket.state.records import Piece, Record, Version, pack
from skerry.kinds.bucket.state.sink import Sink
from skerry.kinds.bucket.wire.encrypting import CUSTOMER

_CHUNK_BYTES = 1 << 20
_COMPONENT_BYTES_MAX = 200
_PATH_BYTES_MAX = 900
_LINE_BYTES_MAX = 16 * 1024 * 1024


class UserLine(msgspec.Struct):
    """A line of `users.ndjson`; `suffix` makes the access key."""

    name: str
    id: str
    email: str
    suffix: str
    created: int


class BucketLine(msgspec.Struct):
    """A line of `buckets.ndjson`; settings are base64."""

    name: str
    owner: str
    created: int
    region: str
    versioning: str
    locking: bool
    settings: dict[str, str]


class ObjectLine(msgspec.Struct):
    """A line of `objects.ndjson`; `cuts` are size and nonce of what a customer's key encrypts."""

    bucket: str
    key: str
    version: str
    latest: bool
    marker: bool
    modified: int
    size: int
    etag: str
    record: Record
    file: str = ""
    cuts: list[tuple[int, bytes]] = []


class StagedLine(msgspec.Struct):
    """A version whose content was taken in already: `data` if it is small."""

    line: ObjectLine
    pieces: list[Piece]
    data: bytes | None = None
    nonce: bytes = b""


async def export(account: Account, target: Path) -> None:
    """Write everything into the empty directory `target`."""
    async with account.store.keeping():
        await account.store.read(_export, account, target)


def _export(db: Db, account: Account, target: Path) -> None:
    encode = msgspec.json.encode
    with (target / "users.ndjson").open("wb") as file:
        owner = account.owner
        file.write(encode(UserLine(owner.name, owner.id, "", "", 0)) + b"\n")
        for user in buckets.users(db):
            line = UserLine(
                user.name, account.user_id(user.name), user.email, user.suffix, user.created
            )
            file.write(encode(line) + b"\n")
    names: dict[int, str] = {}
    with (target / "buckets.ndjson").open("wb") as file:
        for (name,) in rows(db, "SELECT name FROM buckets ORDER BY id"):
            bucket = buckets.find(db, name)
            assert bucket is not None, "it is in the same snapshot"
            names[bucket.id] = name
            settings = {
                key: base64.b64encode(value).decode() for key, value in bucket.settings.items()
            }
            file.write(
                encode(
                    BucketLine(
                        name,
                        bucket.owner,
                        bucket.created,
                        bucket.region,
                        bucket.versioning,
                        bucket.locking,
                        settings,
                    )
                )
                + b"\n"
            )
    total = int(db.execute("SELECT count(*) FROM versions").get)
    with (target / "objects.ndjson").open("wb") as file:
        for done, row in enumerate(db.execute(f"{_VERSIONS} ORDER BY sequence"), start=1):
            entry = _write_version(db, account, target, names[row[10]], row_to_version(row))
            file.write(encode(entry) + b"\n")
            account.context.host.progress(done, total, entry.key)


_VERSIONS = (
    "SELECT sequence, key, version, latest, marker, modified, size, etag, record, pieces, bucket"
    " FROM versions"
)


def _write_version(
    db: Db, account: Account, target: Path, bucket: str, version: Version
) -> ObjectLine:
    line = ObjectLine(
        bucket,
        version.key,
        version.version,
        version.latest,
        version.marker,
        version.modified,
        version.size,
        version.etag,
        version.record,
    )
    if version.marker:
        return line
    encryption, key = version.record.encryption, None
    if encryption is not None and encryption.mode == CUSTOMER:
        line.cuts = [(piece.size, piece.nonce) for piece in version.pieces]
    elif encryption is not None:
        key = crypt.own_key(account.keys, encryption)
    line.file, file = _create(target, bucket, version)
    with file:
        for chunk in _content(db, account.store.blobs, version, key):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return line


def _create(target: Path, bucket: str, version: Version) -> tuple[str, BinaryIO]:
    """Open a new file for a version, named by its key if that can be."""
    if version.latest and _is_path(version.key):
        name = f"objects/{bucket}/{version.key}"
        try:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            return name, (target / name).open("xb")
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            pass
    name = f"versions/{version.sequence}"
    (target / name).parent.mkdir(exist_ok=True)
    return name, (target / name).open("xb")


def _is_path(key: str) -> bool:
    parts = key.split("/")
    return (
        "\x00" not in key
        and len(key.encode()) <= _PATH_BYTES_MAX
        and all(
            part not in ("", ".", "..") and len(part.encode()) <= _COMPONENT_BYTES_MAX
            for part in parts
        )
    )


def _content(db: Db, blobs: Blobs, version: Version, key: crypt.Key | None) -> Iterator[bytes]:
    for piece in version.pieces:
        cipher = crypt.stream(key, piece.nonce) if key is not None and piece.nonce else None
        if not piece.digest:
            data = content.read_inlined(db, piece.inlined)
            if data is None:
                raise CORRUPT(f"The content of {version.key!r} is missing.")
            yield cipher.update(data) if cipher else data
            continue
        with os.fdopen(blobs.open(piece.digest), "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield cipher.update(chunk) if cipher else chunk


async def restore(account: Account, source: Path) -> None:
    """Replace everything by an export; raise INVALID, with nothing changed, if it is not one."""
    users = list(_lines(source / "users.ndjson", UserLine))
    listed = list(_lines(source / "buckets.ndjson", BucketLine))
    known = {each.name for each in listed}
    identities = {each.id: account.user_id(each.name) for each in users}
    staged = account.context.run / "restore.staged"
    try:
        await account.store.disk(_stage, account, source, staged, known)
        try:
            await account.store.write(_replace, account, users, listed, identities, staged)
        except content.MissingContentError as error:
            raise BUSY("Contents were collected during the import.", hint="Try again.") from error
        except (binascii.Error, apsw.ConstraintError, S3Error) as error:
            raise INVALID("The export contradicts itself.", why=str(error)) from error
    finally:
        staged.unlink(missing_ok=True)
    await account.load_users()
    account.store.rubbish()


def _lines(path: Path, kind: type[Any]) -> Iterator[Any]:
    decoder = msgspec.json.Decoder(kind)
    try:
        with path.open("rb") as file:
            while line := file.readline(_LINE_BYTES_MAX):
                yield decoder.decode(line)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise INVALID(
            f"{path.name} is not part of an export of a bucket.", why=str(error)
        ) from error


def _stage(account: Account, source: Path, staged: Path, known: set[str]) -> None:
    """Take in every content, and note where it is; nothing refers to it yet."""
    seen: set[tuple[str, str, str]] = set()
    with staged.open("wb") as file:
        for line in _lines(source / "objects.ndjson", ObjectLine):
            mark = (line.bucket, line.key, line.version)
            if line.bucket not in known or mark in seen:
                raise INVALID(f"objects.ndjson has {line.key!r} in the wrong bucket, or twice.")
            seen.add(mark)
            file.write(base64.b64encode(pack(_take_in(account, source, line))) + b"\n")


def _take_in(account: Account, source: Path, line: ObjectLine) -> StagedLine:
    if line.marker:
        return StagedLine(line, [])
    path = source / PurePosixPath(line.file)
    if not path.resolve().is_relative_to(source.resolve()) or not path.is_file():
        raise INVALID(f"The export has no file {line.file!r} for {line.key!r}.")
    if path.stat().st_size != line.size or sum(size for size, _ in line.cuts) not in (0, line.size):
        raise INVALID(f"{line.file} does not have the size of {line.key!r}.")
    encryption, key = line.record.encryption, None
    if encryption is not None and encryption.mode != CUSTOMER:
        key = crypt.own_key(account.keys, encryption)
    with path.open("rb") as file:
        if not line.cuts:
            return _take_piece(account, file, line, key)
        pieces = []
        for size, nonce in line.cuts:
            pieces.append(_take_file(account.store.blobs, file, size, nonce))
    return StagedLine(line, pieces)


def _take_piece(
    account: Account, file: BinaryIO, line: ObjectLine, key: crypt.Key | None
) -> StagedLine:
    sink = Sink(account.store.blobs, (), key)
    try:
        while chunk := file.read(_CHUNK_BYTES):
            sink.write(chunk)
        taken = sink.finish()
        taken.close()
    except BaseException:
        sink.abandon()
        raise
    return StagedLine(line, taken.pieces, taken.data, taken.nonce)


def _take_file(blobs: Blobs, file: BinaryIO, size: int, nonce: bytes) -> Piece:
    incoming = blobs.receive()
    try:
        left = size
        while left:
            chunk = file.read(min(left, _CHUNK_BYTES))
            incoming.write(chunk)
            left -= len(chunk)
        digest = incoming.sync()
        blobs.place(incoming, digest)
    finally:
        incoming.discard()
    return Piece(digest, size, nonce=nonce)


def _replace(
    db: Db,
    account: Account,
    users: list[UserLine],
    listed: list[BucketLine],
    identities: dict[str, str],
    staged: Path,
) -> None:
    """Delete everything and insert what was staged."""
    _clear(db, account.now())
    for user in users:
        if user.name != buckets.OWNER:
            values = (user.name, user.suffix, user.email, user.created)
            db.execute("INSERT INTO users VALUES (?, ?, ?, ?)", values)
    ids: dict[str, int] = {}
    for each in listed:
        owner = identities.get(each.owner, each.owner)
        made = buckets.create(
            db, each.name, owner, each.created, region=each.region, locking=each.locking
        )
        ids[each.name] = made.id
        buckets.set_versioning(db, made.id, each.versioning)
        for name, value in each.settings.items():
            data = base64.b64decode(value)
            for old, new in identities.items():
                data = data.replace(old.encode(), new.encode())
            buckets.set_setting(db, made.id, name, data)
    with staged.open("rb") as file:
        for text in file:
            entry = msgspec.msgpack.decode(base64.b64decode(text), type=StagedLine)
            _insert(db, account.store.blobs, ids, identities, entry)


def _clear(db: Db, now: int) -> None:
    for table in ("versions", "parts"):
        for (packed,) in rows(db, f"SELECT pieces FROM {table}"):  # noqa: S608 - constants
            content.discard(db, packed, now)
    for table in ("parts", "uploads", "completed", "versions", "settings", "buckets", "users"):
        db.execute(f"DELETE FROM {table}")  # noqa: S608 - constants


def _insert(
    db: Db, blobs: Blobs, ids: dict[str, int], identities: dict[str, str], entry: StagedLine
) -> None:
    line, record = entry.line, entry.line.record
    record.owner = identities.get(record.owner, record.owner)
    record.grants = [
        msgspec.structs.replace(grant, user=identities.get(grant.user, grant.user))
        for grant in record.grants
    ]
    pieces = entry.pieces
    if entry.data:
        pieces = [content.inline(db, entry.data, entry.nonce)]
    content.hold(db, blobs, pieces, fresh=True)
    objects.insert_as_is(
        db,
        ids[line.bucket],
        Version(
            0,
            line.key,
            line.version,
            line.latest,
            line.marker,
            line.modified,
            line.size,
            line.etag,
            record,
            pack(pieces),
        ),
    )
