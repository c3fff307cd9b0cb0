"""What a program apart says: lines with their time, in a file that does not grow for ever."""

from __future__ import annotations

from pathlib import Path

from skerry.kernel.clock import Clock

LINE_BYTES_MAX = 16 * 1024
_LAST = "Nothing more is kept of what the program says: its log is full."


class Said:
    """Writes `<milliseconds since 1970> <text>` a line, up to a bound; longer lines are cut."""

    def __init__(self, path: Path, bytes_max: int, clock: Clock) -> None:
        self._file = path.open("ab", buffering=0)
        self._left = bytes_max
        self._clock = clock
        self._rest = b""
        self._at = 0

    def take(self, data: bytes) -> None:
        """Keep the whole lines of what was said so far."""
        *lines, rest = (self._rest + data).split(b"\n")
        while len(rest) > LINE_BYTES_MAX:
            lines.append(rest[:LINE_BYTES_MAX])
            rest = rest[LINE_BYTES_MAX:]
        self._rest = rest
        # Time does not run backwards in a log, whatever the clock on the wall does.
        self._at = max(self._at, self._clock.now() // 1_000_000)
        kept = []
        for line in lines:
            entry = b"%d %s\n" % (self._at, line[:LINE_BYTES_MAX])
            if self._left <= 0:
                break
            self._left -= len(entry)
            if self._left <= 0:
                entry = b"%d %s\n" % (self._at, _LAST.encode())
            kept.append(entry)
        if kept:
            self._file.write(b"".join(kept))

    def say(self, text: str) -> None:
        """Keep a line of the warden's own."""
        self.take(b"\n" * bool(self._rest) + text.encode() + b"\n")

    def close(self) -> None:
        """Keep the last line even if it has no end."""
        if self._rest:
            self.take(b"\n")
        self._file.close()
