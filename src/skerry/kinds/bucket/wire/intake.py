"""Taking in the body of an object or a part: decoded, hashed, checked, and placed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from skerry.kinds._shared.s3 import checksums, chunks
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.state import crypt
from skerry.kinds.bucket.state.content import INLINE_BYTES_MAX
from skerry.kinds.bucket.state.sink import Sink, Taken
from skerry.kinds.bucket.wire.call import Call

OBJECT_BYTES_MAX = 5 * 1024**3
_STEP_BYTES = 1 << 20
_HEADER = "x-amz-checksum-"
_ALGORITHM_HEADERS = (
    "x-amz-sdk-checksum-algorithm",
    "x-amz-checksum-algorithm",
)


def algorithm_of(name: str) -> str:
    """Return a checksum algorithm's name; raise InvalidRequest for an unknown one."""
    found = name.upper()
    if found not in checksums.SIZES:
        raise S3Error("InvalidRequest", f"Checksum algorithm {name!r} is not supported.")
    return found


def stated(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the checksums that headers state, by algorithm; raise InvalidRequest if malformed."""
    found = {}
    for name in checksums.SIZES:
        value = headers.get(f"{_HEADER}{name.lower()}")
        if value is not None:
            found[name] = value
    return found


def _checked(given: dict[str, str]) -> dict[str, str]:
    if len(given) > 1:
        raise S3Error("InvalidRequest", "Expecting a single x-amz-checksum- header.")
    for name, value in given.items():
        try:
            checksums.decode(name, value)
        except ValueError as error:
            raise S3Error(
                "BadDigest", f"Value for x-amz-checksum-{name.lower()} header is invalid."
            ) from error
    return given


async def take_in(call: Call, key: crypt.Key | None, algorithm: str = "") -> Taken:
    """Take in the body; raise S3Error, and keep nothing, if any digest does not match.

    `key` encrypts it; `algorithm` is a checksum to compute in any case.
    """
    given = _checked(stated(call.headers))
    decoder = call.decoder()
    trailing = _trailing(call, decoder)
    wanted = {*given, *filter(None, (trailing, algorithm))}
    if not wanted:
        for header in _ALGORITHM_HEADERS:
            if header in call.headers:
                wanted = {algorithm_of(call.headers[header])}
    _check_size(call, decoder is not None)
    sink = Sink(call.store.blobs, sorted(wanted), key, need_sha256=call.signs_payload)
    try:
        await _pump(call, sink, decoder)
        if decoder is not None:
            decoder.finish()
        call.check_length(sink.size, decoder is not None)
        small = sink.size <= INLINE_BYTES_MAX
        taken = sink.finish() if small else await call.store.disk(sink.finish)
    except BaseException:
        sink.abandon()
        raise
    try:
        if trailing and decoder is not None:
            value = decoder.trailers.get(f"{_HEADER}{trailing.lower()}")
            if value is None:
                raise S3Error("InvalidRequest", "The announced trailing checksum is missing.")
            given = _checked({trailing: value})
        _check_digests(call, taken, given)
    except BaseException:
        taken.close()
        raise
    call.written += taken.size
    return taken


def _trailing(call: Call, decoder: chunks.Decoder | None) -> str:
    names = call.headers.get("x-amz-trailer", "").lower()
    if decoder is None or not names.startswith(_HEADER):
        return ""
    return algorithm_of(names.removeprefix(_HEADER).strip())


def _check_size(call: Call, decoded: bool) -> None:
    name = "x-amz-decoded-content-length" if decoded else "content-length"
    text = call.headers.get(name)
    if text is None:
        if call.headers.get("transfer-encoding", "").lower() != "chunked":
            raise S3Error("MissingContentLength", "You must provide the Content-Length header.")
    elif int(text) > OBJECT_BYTES_MAX:
        raise S3Error("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size.")


async def _pump(call: Call, sink: Sink, decoder: chunks.Decoder | None) -> None:
    """Move the body into the sink; while a step is written, the next one is received."""
    waiting: list[bytes] = []
    size = 0
    running: asyncio.Future[None] | None = None
    try:
        async for data in call.body():
            waiting.append(data)
            size += len(data)
            if size >= _STEP_BYTES:
                if running is not None:
                    await running
                running = asyncio.ensure_future(
                    call.store.disk(_step, sink, decoder, waiting, OBJECT_BYTES_MAX)
                )
                waiting, size = [], 0
        if running is not None:
            await running
            running = None
    finally:
        if running is not None:
            await asyncio.wait([running])
    if size <= INLINE_BYTES_MAX and not sink.size:
        _step(sink, decoder, waiting, OBJECT_BYTES_MAX)
    else:
        await call.store.disk(_step, sink, decoder, waiting, OBJECT_BYTES_MAX)


def _step(sink: Sink, decoder: chunks.Decoder | None, waiting: list[bytes], limit: int) -> None:
    for data in waiting:
        for piece in decoder.feed(data) if decoder else (data,):
            sink.write(piece)
    if sink.size > limit:
        raise S3Error("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size.")


def _check_digests(call: Call, taken: Taken, given: dict[str, str]) -> None:
    for name, value in given.items():
        if taken.sums[name] != value:
            raise S3Error(
                "BadDigest", f"The {name} you specified did not match the calculated checksum."
            )
    call.check_sha256(taken.sha256)
    if "content-md5" in call.headers:
        call.check_md5(bytes.fromhex(taken.md5))
