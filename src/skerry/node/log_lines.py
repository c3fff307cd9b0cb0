"""Lines between a process and the node's log: plain text, or a record behind a mark."""

from __future__ import annotations

import logging

import msgspec

MARK = "\x01"
"""What a structured line starts with; a plain line of a program never does."""

LINE_BYTES_MAX = 16 * 1024

ENGINES = "engines"
"""The source of what the process of all engines of a branch says; a function is its own."""


class LineFormatter(logging.Formatter):
    """Formats a record as a marked line, so that the node knows its level and logger."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; an exception's traceback is folded into it."""
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return marked(record.levelname.lower(), record.name, text)


def marked(level: str, logger: str, text: str) -> str:
    """Return a line that `parse_line` takes apart again."""
    return MARK + msgspec.json.encode([level, logger, text]).decode()


def parse_line(line: str) -> tuple[str, str, str]:
    """Return (level, logger, text) of a line; a plain line has the logger ''."""
    if line.startswith(MARK):
        try:
            level, name, text = msgspec.json.decode(line[1:], type=tuple[str, str, str])
            return level, name, text
        except (msgspec.DecodeError, msgspec.ValidationError):
            return "info", "", line[1:]
    return "info", "", line
