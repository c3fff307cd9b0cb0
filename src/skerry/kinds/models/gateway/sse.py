"""Server-sent events as providers stream them, cut anywhere, found as they come.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

from collections.abc import Iterator

DONE = b"[DONE]"
EVENT_BYTES_MAX = 8 << 20


class TooLongError(Exception):
    """An event does not end."""


class Events:
    """Takes bytes and yields the data of each event once it is complete."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the data of the events that are complete now; comments are left out."""
        if b"\r" in data or self._rest.endswith(b"\r"):
            data = (self._rest + data).replace(b"\r\n", b"\n")
            held = data.endswith(b"\r")
            data = data[:-1].replace(b"\r", b"\n") + (b"\r" if held else data[-1:])
        else:
            data = self._rest + data
        *events, self._rest = data.split(b"\n\n")
        if len(self._rest) > EVENT_BYTES_MAX:
            raise TooLongError
        for event in events:
            found = _data(event)
            if found is not None:
                yield found

    def end(self) -> Iterator[bytes]:
        """Yield the data of a last event that was not followed by an empty line."""
        found, self._rest = _data(self._rest.rstrip(b"\r\n")), b""
        if found is not None:
            yield found


def _data(event: bytes) -> bytes | None:
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:]
    lines = [
        line[6:] if line[5:6] == b" " else line[5:]
        for line in event.split(b"\n")
        if line.startswith(b"data:")
    ]
    return b"\n".join(lines) if lines else None


def event(data: bytes) -> bytes:
    """Return an event with that data."""
    return b"data: " + data + b"\n\n"


def named_event(name: str, data: bytes) -> bytes:
    """Return an event with a name."""
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"
