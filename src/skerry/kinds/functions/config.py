"""The settings of a function, as `[functions.<name>]` gives them."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from skerry.kernel.app import parse_duration
from skerry.kernel.cron import parse as parse_cron

_ENTRY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]i?B|B)?")
_BYTES = {
    "B": 1,
    "KB": 1 << 10,
    "KIB": 1 << 10,
    "MB": 1 << 20,
    "MIB": 1 << 20,
    "GB": 1 << 30,
    "GIB": 1 << 30,
}
MEMORY_BYTES_MIN = 32 << 20
CRONS_MAX = 100

Interface = Literal["auto", "asgi", "wsgi", "handler", "factory"]


def _about(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


def parse_size(text: str) -> int:
    """Return the bytes in `256MB`, `1.5GB`; units are powers of 1024. Raises ValueError."""
    found = _SIZE.fullmatch(text.strip().upper().replace("I", "i"))
    if found is None:
        raise ValueError(f"{text!r} is not a size such as 256MB or 1GB")
    return int(float(found[1]) * _BYTES[(found[2] or "B").upper()])


class FunctionsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a function is and how much it may use.

    `memory_bytes` is computed from `memory`, for the sandbox; it is not written by people.
    """

    entry: Annotated[
        str, _about("what answers: `module:attribute`, or a module with fetch and scheduled")
    ]
    interface: Annotated[
        Interface, _about("what the entry is, where it cannot be told from its parameters")
    ] = "auto"
    memory: Annotated[str, _about("the largest memory; over it the process is ended")] = "256MB"
    timeout: Annotated[
        str, _about("the longest that a request may wait for its answer to begin")
    ] = "30s"
    cron_timeout: Annotated[str, _about("the longest that a cron run may take")] = "15m"
    concurrency: Annotated[
        int, msgspec.Meta(ge=1, le=1000), _about("requests in flight at most; more get 503")
    ] = 200
    threads: Annotated[
        int, msgspec.Meta(ge=1, le=256), _about("handlers without async that run at once")
    ] = 16
    processes: Annotated[
        int, msgspec.Meta(ge=8, le=4096), _about("processes and threads at most")
    ] = 64
    crons: Annotated[tuple[str, ...], _about("when `scheduled` runs: cron expressions, UTC")] = ()
    vars: Annotated[
        dict[str, str | int | float | bool], _about("values that are no secrets, as env.<name>")
    ] = {}
    debug: Annotated[bool, _about("show tracebacks to whoever asks; never for the public")] = False
    memory_bytes: int = 0

    def __post_init__(self) -> None:
        if not _ENTRY.fullmatch(self.entry):
            raise ValueError(f"entry: {self.entry!r} is not `module:attribute`")
        for name in ("timeout", "cron_timeout"):
            if _seconds(name, getattr(self, name)) < 0.01:
                raise ValueError(f"{name}: it must be 10ms or more")
        self._check_crons()
        try:
            memory_bytes = parse_size(self.memory)
        except ValueError as error:
            raise ValueError(f"memory: {error}") from error
        if memory_bytes < MEMORY_BYTES_MIN:
            raise ValueError("memory: Python needs 32MB or more")
        if self.memory_bytes not in (0, memory_bytes):
            raise ValueError("memory_bytes: it is computed; write memory")
        msgspec.structs.force_setattr(self, "memory_bytes", memory_bytes)

    def _check_crons(self) -> None:
        if len(self.crons) > CRONS_MAX:
            raise ValueError(f"crons: at most {CRONS_MAX}")
        if len(set(self.crons)) < len(self.crons):
            raise ValueError("crons: each expression at most once")
        for expression in self.crons:
            try:
                parse_cron(expression)
            except ValueError as error:
                raise ValueError(f"crons: {error}") from error

    @property
    def timeout_seconds(self) -> float:
        """`timeout` in seconds."""
        return parse_duration(self.timeout)

    @property
    def cron_timeout_seconds(self) -> float:
        """`cron_timeout` in seconds."""
        return parse_duration(self.cron_timeout)


def _seconds(name: str, text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
