"""What a hybrid job said, read: its lines, and the metrics that it told among them."""

from __future__ import annotations

import math
import re

from skerry.kinds.quantum.hybrid.contract import Line, Metric

MARK = "Metrics - "
"""What a line begins with, or holds, that tells metrics: the SDK's `log_metric` writes it."""

_VALUE = re.compile(r"(\w{1,128})\s*=\s*([^;]{1,64}?)\s*;")
_TIME = "timestamp"


def lines(data: bytes) -> list[Line]:
    """Return the lines of a log, the oldest first."""
    found = []
    for raw in data.splitlines():
        at, _, text = raw.partition(b" ")
        if at.isdigit():
            found.append(Line(int(at), text.decode("utf-8", "replace")))
    return found


def metrics(told: list[Line]) -> list[Metric]:
    """Return the metrics among lines, in their order; what is no finite number is passed over."""
    found = []
    for line in told:
        if MARK not in line.text:
            continue
        values: dict[str, float] = {}
        for name, text in _VALUE.findall(line.text):
            try:
                value = float(text)
            except ValueError:
                continue
            if math.isfinite(value):
                values[name] = value
        at = values.pop(_TIME, line.at / 1000)
        if values:
            found.append(Metric(at, values))
    return found
