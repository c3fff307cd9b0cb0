"""HTTPS to a vendor: one request, one bounded answer, in a thread."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from skerry.kernel.errors import BUSY, DENIED, ENGINE_FAILED, INVALID, SkerryError

SECONDS = 30.0
ANSWER_BYTES_MAX = 64 << 20
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


class Answer(NamedTuple):
    """A vendor's answer."""

    status: int
    body: bytes

    def json(self) -> dict[str, object]:
        """Return the body as an object; raise ENGINE_FAILED if it is none."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, object])
        except msgspec.MsgspecError as error:
            raise ENGINE_FAILED("The vendor's answer is no JSON.", why=str(error)) from error


async def call(
    method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
) -> Answer:
    """Return the answer to a request; raise what its status means, or ENGINE_FAILED."""
    answer = await asyncio.to_thread(_call, method, url, dict(headers), body)
    if answer.status >= 400:
        raise _refused(url, answer)
    return answer


def _call(method: str, url: str, headers: dict[str, str], body: bytes | None) -> Answer:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" and host not in _LOCAL:
        raise INVALID(f"{parts.scheme}://{host} is not encrypted; only this machine may be so.")
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, parts.port, timeout=SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=SECONDS)
    try:
        query = f"?{parts.query}" if parts.query else ""
        connection.request(method, f"{parts.path or '/'}{query}", body, headers)
        response = connection.getresponse()
        data = response.read(ANSWER_BYTES_MAX + 1)
        if len(data) > ANSWER_BYTES_MAX:
            raise ENGINE_FAILED(f"{host} answers with more than {ANSWER_BYTES_MAX >> 20} MiB.")
        return Answer(response.status, data)
    except (OSError, http.client.HTTPException) as error:
        raise ENGINE_FAILED(f"{host} does not answer.", why=str(error)) from error
    finally:
        connection.close()


def _refused(url: str, answer: Answer) -> SkerryError:
    host = urlsplit(url).hostname
    why = answer.body[:400].decode("utf-8", "replace")
    if answer.status in (401, 403):
        return DENIED(f"{host} does not accept the credentials.", why=why)
    if answer.status == 429:
        return BUSY(f"{host} asks to come back later.", why=why)
    if answer.status >= 500:
        return ENGINE_FAILED(f"{host} failed with {answer.status}.", why=why)
    return INVALID(f"{host} refuses the request with {answer.status}.", why=why)
