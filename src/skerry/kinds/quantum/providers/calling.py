"""HTTPS to a vendor: one request, one bounded answer, in a thread; and what its failure means."""

from __future__ import annotations

import asyncio
import email.utils
import http.client
import ssl
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from skerry.kernel.errors import BUSY, DENIED, ENGINE_FAILED, INVALID, Problem, SkerryError

SECONDS = 30.0
"""How long a vendor may say nothing."""

WHOLE_SECONDS = 120.0
"""How long an answer may take to arrive, however slowly it drips."""

ANSWER_BYTES_MAX = 64 << 20
RETRY_SECONDS_MAX = 3600.0
_CHUNK = 1 << 16
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


class VendorError(SkerryError):
    """A vendor's failure.

    `may_have` tells that the vendor may have done what was asked, so that asking again may do it
    twice; `again` that a later try can help, `retry_seconds` after how long the vendor says.
    """

    def __init__(
        self,
        problem: Problem,
        what: str,
        why: str = "",
        hint: str = "",
        *,
        may_have: bool = True,
        again: bool = True,
        retry_seconds: float = 0.0,
    ) -> None:
        super().__init__(problem, what, why, hint)
        self.may_have = may_have
        self.again = again
        self.retry_seconds = retry_seconds


def garbled(what: str, why: str = "") -> VendorError:
    """Return the failure of an answer that cannot be understood; what was asked may be done."""
    return VendorError(ENGINE_FAILED, what, why)


class Answer(NamedTuple):
    """A vendor's answer; names of headers are lower-case."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    def json(self) -> dict[str, Any]:
        """Return the body as an object; raise VendorError if it is none."""
        found = self.any()
        if not isinstance(found, dict):
            raise garbled("The vendor's answer is no JSON object.", str(found)[:200])
        return found

    def any(self) -> Any:
        """Return the body as JSON of any shape; raise VendorError if it is none."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise garbled("The vendor's answer is no JSON.", str(error)) from error


async def call(
    method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
) -> Answer:
    """Return the answer to a request; raise VendorError with what its status means."""
    answer = await asyncio.to_thread(_call, method, url, dict(headers), body)
    if answer.status >= 300:
        raise _refused(url, answer)
    return answer


def _call(method: str, url: str, headers: dict[str, str], body: bytes | None) -> Answer:
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, parts.port, timeout=SECONDS, context=context)
    elif parts.scheme == "http" and host in _LOCAL:
        connection = http.client.HTTPConnection(host, parts.port, timeout=SECONDS)
    else:
        raise VendorError(
            INVALID,
            f"{parts.scheme}://{host} is not encrypted; only this machine may be so.",
            may_have=False,
            again=False,
        )
    try:
        connection.connect()
    except OSError as error:
        connection.close()
        what = f"{host} cannot be reached."
        raise VendorError(ENGINE_FAILED, what, str(error), may_have=False) from error
    try:
        query = f"?{parts.query}" if parts.query else ""
        connection.request(method, f"{parts.path or '/'}{query}", body, headers)
        return _read(connection.getresponse(), host)
    except (OSError, http.client.HTTPException) as error:
        raise garbled(f"{host} does not answer.", f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()


def _read(response: http.client.HTTPResponse, host: str) -> Answer:
    deadline = time.monotonic() + WHOLE_SECONDS
    data = bytearray()
    while chunk := response.read1(_CHUNK):
        data += chunk
        if len(data) > ANSWER_BYTES_MAX:
            raise garbled(f"{host} answers with more than {ANSWER_BYTES_MAX >> 20} MiB.")
        if time.monotonic() > deadline:
            raise garbled(f"{host} takes more than {WHOLE_SECONDS:g} s to answer.")
    if response.length:
        raise garbled(f"{host} ends its answer before its end.")
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, bytes(data), headers)


def _refused(url: str, answer: Answer) -> VendorError:
    host = urlsplit(url).hostname
    why = answer.body[:400].decode("utf-8", "replace")
    retry = _retry_seconds(answer.headers)
    if answer.status in (401, 403):
        what = f"{host} does not accept the credentials."
        return VendorError(DENIED, what, why, may_have=False, again=False)
    if answer.status == 429:
        what = f"{host} asks to come back later."
        return VendorError(BUSY, what, why, may_have=False, retry_seconds=retry)
    if answer.status >= 500 or answer.status == 408:
        what = f"{host} failed with {answer.status}."
        return VendorError(ENGINE_FAILED, what, why, retry_seconds=retry)
    what = f"{host} refuses the request with {answer.status}."
    return VendorError(INVALID, what, why, may_have=False, again=False)


def _retry_seconds(headers: Mapping[str, str]) -> float:
    """Return what `Retry-After` says, seconds or a date by the vendor's clock; 0 for nothing.

    Source: RFC 9110, section 10.2.3.
    """
    text = headers.get("retry-after", "")
    if text.isdecimal():
        return min(float(text), RETRY_SECONDS_MAX)
    try:
        then, now = (
            email.utils.parsedate_to_datetime(each) for each in (text, headers.get("date", ""))
        )
        seconds = (then - now).total_seconds()
    except (ValueError, TypeError):
        return 0.0
    return min(max(seconds, 0.0), RETRY_SECONDS_MAX)
