"""A hybrid job: what is asked for, and what has become of it. Times are nanoseconds since 1970."""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.kinds.quantum.contract import TERMINAL, Event, JobState

DEVICE_OF_NOBODY = "local:"
"""What the device of a job begins with that brings its own simulator."""


class Input(msgspec.Struct, frozen=True):
    """Files that a job finds in a folder of that name: all whose keys begin with `prefix`."""

    channel: str
    bucket: str
    prefix: str


class HybridRequest(msgspec.Struct, frozen=True):
    """A script, and what it is to be given.

    `stack` is the stack of libraries that it runs with, `entry` is `module` or `module:function`,
    `device` an id of the catalogue or empty, `seconds` the longest that it may run. Its results are
    kept below `output`, what it leaves to go on from below `checkpoints`. `native` is the wire's.
    """

    name: str
    device: str
    stack: str
    bucket: str
    script: str
    entry: str
    output: tuple[str, str]
    checkpoints: tuple[str, str]
    inputs: tuple[Input, ...] = ()
    hyperparameters: dict[str, str] = {}
    seconds: int = 432_000
    token: str = ""
    tags: dict[str, str] = {}
    native: dict[str, Any] = {}


class HybridJob(msgspec.Struct, frozen=True, omit_defaults=True):
    """A hybrid job as it stands; `why` says what made it fail, `usage` what it used."""

    id: str
    state: JobState
    request: HybridRequest
    created: int
    updated: int
    started: int = 0
    ended: int = 0
    code: int = 0
    why: str = ""
    usage: dict[str, int] = {}
    tasks: int = 0
    position: int = 0

    @property
    def over(self) -> bool:
        """Tell whether the job is in its last state."""
        return self.state in TERMINAL


class Line(msgspec.Struct, frozen=True):
    """Something that a job said: when (milliseconds since 1970), and what."""

    at: int
    text: str


class Metric(msgspec.Struct, frozen=True):
    """Values that a job told of itself, by their names, at a time in seconds since 1970."""

    at: float
    values: dict[str, float]


class Told(msgspec.Struct, frozen=True):
    """A job with its steps, the last lines that it said, and the metrics among all of them."""

    job: HybridJob
    events: tuple[Event, ...]
    lines: tuple[Line, ...]
    metrics: tuple[Metric, ...]
