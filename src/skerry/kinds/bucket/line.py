"""Signed requests to a bucket on another node, and what its refusals say."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping

from skerry.kernel.errors import ENGINE_FAILED
from skerry.kernel.kind import Context
from skerry.kinds._shared.http.message import Answer, Ask
from skerry.kinds._shared.http.streaming import Response, StreamingPool
from skerry.kinds._shared.s3 import sigv4, xml
from skerry.kinds.bucket.account import owner_credential
from skerry.kinds.bucket.surface import translate

SILENCE_SECONDS = 60.0
ANSWER_BYTES_MAX = 32 << 20
LARGE_BYTES = 256 << 10
"""What is larger is hashed in a thread."""


class Line:
    """The way to one resource, as its owner."""

    def __init__(self, context: Context, path: str) -> None:
        self.credential = owner_credential(context.id, context.keys)
        self._clock = context.clock
        self._pool = StreamingPool(context.ref.name, path, context.clock, SILENCE_SECONDS)
        self._host = f"{context.ref.name}.skerry"

    async def open(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes | memoryview = b"",
    ) -> Response:
        """Send a request; return its answer as soon as its head is there, whatever its status."""
        digest = sigv4.EMPTY_SHA256
        if len(body) > LARGE_BYTES:
            digest = (await asyncio.to_thread(hashlib.sha256, body)).hexdigest()
        elif body:
            digest = hashlib.sha256(body).hexdigest()
        signed = sigv4.sign(
            method,
            path,
            query,
            {"host": self._host, **headers},
            self.credential,
            digest,
            self._clock.now(),
        )
        target = f"{path}?{query}" if query else path
        repeatable = method in ("GET", "HEAD")
        return await self._pool.open(Ask(method, target, signed, body, repeatable))

    async def whole(self, response: Response) -> Answer:
        """Return an answer with its body."""
        body = await response.read(ANSWER_BYTES_MAX)
        return Answer(response.status, response.headers, body)

    async def ask(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes | memoryview = b"",
    ) -> Answer:
        """Send a request and return its whole answer; raise what the bucket refuses it with."""
        answer = await self.whole(await self.open(method, path, query, headers, body))
        if answer.status // 100 != 2:
            raise translate(*self.error(answer))
        return answer

    def error(self, answer: Answer) -> tuple[str, str]:
        """Return the code and the message of a refusal."""
        root = self.parse(answer.body)
        if root.name != "Error":
            raise ENGINE_FAILED(f"The bucket answered {answer.status}.")
        code, message = root.get("Code"), root.get("Message")
        if code == "NoSuchBucket":
            message = f"There is no bucket {root.get('BucketName')}."
        return code, message

    def parse(self, body: bytes) -> xml.Element:
        """Return a document; raise ENGINE_FAILED for what is none."""
        try:
            return xml.parse(body)
        except xml.MalformedXMLError as error:
            what = f"What answers for {self._pool.name} is no bucket."
            raise ENGINE_FAILED(what, why=str(error)) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()
