"""Gates: what wires answer while their resources sleep, so that strangers wake nothing.

The router asks only before it wakes something; whatever is awake answers by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from http import HTTPStatus

import httptools

from skerry.kernel.catalogue import Branch, Catalogue
from skerry.kernel.clock import Clock
from skerry.kernel.errors import INVALID
from skerry.kernel.kind import Gate, Head, Resource, Response
from skerry.kernel.manifest import Manifest
from skerry.node.router.targets import NODE, Target

QUICK_BYTES_MAX = 4096
"""A longer head is looked at in a thread: one made to be slow takes tens of milliseconds."""


class TurnedAwayError(Exception):
    """A gate answered in its engine's stead; `answer` are the bytes for the client."""

    def __init__(self, answer: bytes) -> None:
        super().__init__("turned away at the gate")
        self.answer = answer


class Gates:
    """Finds and asks the gate of a target; `find` returns a resource of a branch by its name."""

    def __init__(
        self,
        catalogue: Catalogue,
        manifests: Mapping[str, Manifest],
        find: Callable[[Branch, str], Resource],
        clock: Clock,
    ) -> None:
        self._catalogue = catalogue
        self._manifests = manifests
        self._find = find
        self._clock = clock
        self._named = {
            name: wire.gate
            for name, manifest in manifests.items()
            for wire in manifest.wires
            if wire.gate
        }
        self._loaded: dict[str, Gate] = {}

    async def knock(self, target: Target, line: bytes) -> None:
        """See `Switchboard.knock`. Raises also INVALID, and whatever a broken gate does."""
        if target.app == NODE or target.node or target.socket:
            return
        app = self._catalogue.known(target.app)
        branch = app.branches.get(target.branch) if app is not None else None
        record = branch.resources.get(target.resource) if branch is not None else None
        if branch is None or record is None or record.kind not in self._named:
            # Waking it tells what it lacks.
            return
        gate = await self._gate(record.kind)
        resource, head = self._find(branch, target.resource), read_head(line)
        if len(line) <= QUICK_BYTES_MAX:
            answer = gate(head, resource, self._clock.now())
        else:
            answer = await asyncio.to_thread(gate, head, resource, self._clock.now())
        if answer is not None:
            raise TurnedAwayError(as_bytes(answer, head.method))

    async def _gate(self, kind: str) -> Gate:
        """Return a kind's gate, whose code is imported when the first request needs it."""
        found = self._loaded.get(kind)
        if found is None:
            manifest = self._manifests[kind]
            loaded: Gate = await asyncio.to_thread(manifest.load, self._named[kind])
            found = self._loaded[kind] = loaded
        return found


class _Reader:
    """Takes a head apart by the parser that serves cells, so that a gate sees what they would."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self.headers.append((name.lower(), value))


def read_head(line: bytes) -> Head:
    """Return the head that the bytes are; raise INVALID for a target that cells do not take."""
    reader = _Reader()
    parser = httptools.HttpRequestParser(reader)
    try:
        with contextlib.suppress(httptools.HttpParserUpgrade):
            parser.feed_data(line)
        url = httptools.parse_url(reader.url)
        path = url.path or b""
        path.decode("ascii")
    except (httptools.HttpParserError, UnicodeDecodeError) as error:
        raise INVALID("A request's target is a path of ASCII.") from error
    return Head(parser.get_method(), path, url.query or b"", tuple(reader.headers))


def as_bytes(answer: Response, method: bytes) -> bytes:
    """Return an answer as it is sent; the connection ends with it."""
    lines = [b"HTTP/1.1 %d %b" % (answer.status, HTTPStatus(answer.status).phrase.encode())]
    lines += [b"%b: %b" % each for each in answer.headers]
    lines += [b"connection: close", b"", b"" if method == b"HEAD" else answer.body]
    return b"\r\n".join(lines)
