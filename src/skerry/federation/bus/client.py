"""Speaking to the node's own nats-server: requests, and the API of JetStream.

What is sent carries a digest of ours (`Skerry-SHA256`), and is checked against it when it is read:
a server whose file was damaged is found out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
from collections.abc import Mapping
from typing import Any

import msgspec
import nats.errors
from nats.aio.client import Client as Connection
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from skerry.federation.bus import nkeys
from skerry.federation.identity import Identity
from skerry.federation.tls import client_context
from skerry.kernel.errors import (
    BUSY,
    CONFLICT,
    CORRUPT,
    ENGINE_FAILED,
    NOT_FOUND,
    STORE_UNREACHABLE,
    SkerryError,
)

SECONDS = 5.0
RECONNECT_SECONDS = 1
DIGEST = "Skerry-SHA256"
NOT_FOUND_CODES = frozenset({10037, 10059, 10014})
"""No such message, no such stream, no such consumer."""

CONFLICT_CODES = frozenset({10071, 10164, 10058})
"""The last sequence is another one (of the stream, of the subject); the name is taken."""

_log = logging.getLogger("skerry.federation")


class _NoRemark(logging.Filter):
    """Leaves out a remark of asyncio's on every server that goes.

    `nats` answers `eof_received` as a protocol without TLS does, which has no effect, and its
    connection gives nobody else a say in that.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("returning true from eof_received()")


_NO_REMARK = _NoRemark()


class Client:
    """A connection to the node's own server, as a user of one account; it connects again by itself.

    Every method raises STORE_UNREACHABLE when there is no answer: it is then not known what
    happened.
    """

    def __init__(self, identity: Identity, token: str, key: nkeys.Key) -> None:
        self._identity = identity
        self._token = token
        self._key = key
        self._connection = Connection()

    @property
    def connected(self) -> bool:
        """Whether the server answers now."""
        return self._connection.is_connected

    async def connect(self, port: int) -> None:
        """Connect to the server; raise STORE_UNREACHABLE."""
        context = client_context(self._identity, self._identity.authority().decode())
        logging.getLogger("asyncio").addFilter(_NO_REMARK)
        try:
            await self._connection.connect(
                f"tls://127.0.0.1:{port}",
                tls=context,
                user_jwt_cb=lambda: bytearray(self._token.encode()),
                signature_cb=lambda nonce: base64.b64encode(self._key.sign(nonce.encode())),
                error_cb=_note,
                connect_timeout=2,
                reconnect_time_wait=RECONNECT_SECONDS,
                max_reconnect_attempts=-1,
                ping_interval=5,
                max_outstanding_pings=2,
                dont_randomize=True,
            )
        except (OSError, nats.errors.Error, TimeoutError) as error:
            raise _unreachable(error) from error

    async def close(self) -> None:
        """Close the connection."""
        if not self._connection.is_closed:
            await self._connection.close()

    async def request(
        self,
        subject: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        seconds: float = SECONDS,
    ) -> Msg:
        """Ask, and return the answer."""
        try:
            return await self._connection.request(
                subject, body, timeout=seconds, headers=dict(headers) if headers else None
            )
        except (OSError, nats.errors.Error, TimeoutError) as error:
            raise _unreachable(error) from error

    async def subscribe(self, subject: str) -> Subscription:
        """Take what is published on a subject."""
        try:
            return await self._connection.subscribe(subject)
        except (OSError, nats.errors.Error) as error:
            raise _unreachable(error) from error

    async def tell(self, subject: str, body: bytes, reply: str = "") -> None:
        """Publish without an answer."""
        try:
            await self._connection.publish(subject, body, reply=reply)
        except (OSError, nats.errors.Error) as error:
            raise _unreachable(error) from error

    def inbox(self) -> str:
        """Return a subject of our own."""
        return self._connection.new_inbox()

    # ---- JetStream ----------------------------------------------------------------------------

    async def api(self, call: str, body: Any = None, seconds: float = SECONDS) -> dict[str, Any]:
        """Call JetStream's API.

        Raises NOT_FOUND, CONFLICT, BUSY where it can be tried again, and ENGINE_FAILED.
        """
        data = b"" if body is None else msgspec.json.encode(body)
        return _read(await self.request(f"$JS.API.{call}", data, seconds=seconds))

    async def append(
        self, subject: str, data: bytes, headers: Mapping[str, str], seconds: float = SECONDS
    ) -> int:
        """Put a message into the stream of its subject; return its number there once it is kept.

        Raises as `api` does; CONFLICT if an expectation in the headers does not hold.
        """
        sealed = {DIGEST: hashlib.sha256(data).hexdigest(), **headers}
        answer = _read(await self.request(subject, data, sealed, seconds))
        return int(answer["seq"])

    async def last(self, stream: str, subject: str) -> tuple[int, bytes] | None:
        """Return the last message of a subject and its number; None if there is none."""
        return await self._get(stream, {"last_by_subj": subject})

    async def next(self, stream: str, subject: str, number: int) -> tuple[int, bytes] | None:
        """Return the first message of a subject from a number on; None if there is none."""
        return await self._get(stream, {"seq": number, "next_by_subj": subject})

    async def _get(self, stream: str, which: dict[str, Any]) -> tuple[int, bytes] | None:
        try:
            found = (await self.api(f"STREAM.MSG.GET.{stream}", which))["message"]
        except SkerryError as error:
            if error.problem is NOT_FOUND and await self._exists(stream):
                return None
            raise
        data = base64.b64decode(found.get("data", ""))
        return int(found["seq"]), checked(data, _digest_in(found.get("hdrs", "")))

    async def _exists(self, stream: str) -> bool:
        """Tell whether a stream is there; raise NOT_FOUND if it is not."""
        return bool(await self.api(f"STREAM.INFO.{stream}"))


def checked(data: bytes, digest: str | None) -> bytes:
    """Return what was read if it is what was sent; raise CORRUPT."""
    if digest != hashlib.sha256(data).hexdigest():
        raise CORRUPT(
            "A message of the bus fails its checksum.",
            why="The file of a nats-server was damaged or edited.",
            hint="skerry node audit",
        )
    return data


def _digest_in(headers: str) -> str | None:
    """Return our digest from the headers of a stored message, which come in base64."""
    try:
        lines = base64.b64decode(headers).decode().split("\r\n")
    except (binascii.Error, UnicodeDecodeError):
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == DIGEST:
            return value.strip()
    return None


def _read(answer: Msg) -> dict[str, Any]:
    try:
        found: Any = msgspec.json.decode(answer.data)
    except msgspec.DecodeError as error:
        raise ENGINE_FAILED("nats-server answers what cannot be read.", why=f"{error}.") from error
    failure = found.get("error")
    if failure is None:
        return dict(found)
    number, words = failure.get("err_code", 0), failure.get("description", "")
    problem = ENGINE_FAILED
    if number in NOT_FOUND_CODES:
        problem = NOT_FOUND
    elif number in CONFLICT_CODES:
        problem = CONFLICT
    elif failure.get("code") in (503, 408):
        problem = BUSY
    raise problem(f"JetStream refuses: {words}.", why=f"Its error {number}.")


def _unreachable(error: BaseException) -> SkerryError:
    return STORE_UNREACHABLE(
        "The bus does not answer.",
        why=f"{type(error).__name__}: {error}",
        hint="skerry nodes",
    )


async def _note(error: BaseException) -> None:
    _log.debug("bus: %s", error)
