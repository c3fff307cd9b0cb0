"""What a key may use."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1, le=10**15)]


class Period(enum.StrEnum):
    """How long a budget is for."""

    DAY = "day"
    MONTH = "month"
    EVER = "ever"


class Limits(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a key may use; None is as much as it likes. The budget is in micro-euro.

    `models` are the names that it may ask for; empty allows all.
    """

    budget: Annotated[int, msgspec.Meta(ge=0, le=10**15)] | None = None
    period: Period = Period.MONTH
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    models: tuple[str, ...] = ()
