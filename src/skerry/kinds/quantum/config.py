"""The settings of a quantum resource, `[quantum.<name>]` in `skerry.toml`."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal

import msgspec

_TEXT = "a decimal number"


def _amount(text: str) -> None:
    try:
        if not 0 <= Decimal(text) <= 10**9:
            raise ValueError(f"{text} is not between 0 and a billion")
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is not {_TEXT}") from error


class Agreed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a vendor asks by the resource's own contract; all 0 is a plan that is free."""

    per_task: str = "0"
    per_shot: str = "0"
    per_second: str = "0"
    currency: Literal["EUR", "USD"] = "EUR"
    as_of: str = ""

    def __post_init__(self) -> None:
        for text in (self.per_task, self.per_shot, self.per_second):
            _amount(text)


class QuantumConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where machines may stand, what jobs may cost, and what simulations may use."""

    countries: Annotated[
        tuple[str, ...],
        msgspec.Meta(
            description="Countries in which a machine may stand (ISO 3166, or EU). It holds for "
            "twins too, so that what runs on a twin may run on the machine."
        ),
    ] = ()
    budget: Annotated[
        str,
        msgspec.Meta(description="The most that one job may cost on the machine; empty for any."),
    ] = ""
    currency: Annotated[str, msgspec.Meta(description="EUR or USD.")] = "EUR"
    usd_per_eur: Annotated[
        str, msgspec.Meta(description="What a euro is worth in dollars, for costs.")
    ] = "1.10"
    rate_as_of: Annotated[
        str, msgspec.Meta(description="The date of that rate; the default is assumed, not read.")
    ] = "assumed"
    memory_mib: Annotated[
        int, msgspec.Meta(ge=64, description="What one simulation may use of memory.")
    ] = 3072
    job_seconds_max: Annotated[
        int, msgspec.Meta(ge=1, le=86_400, description="How long one execution may take.")
    ] = 3600

    hybrid_at_once: Annotated[
        int, msgspec.Meta(ge=1, le=16, description="How many hybrid jobs may run at a time.")
    ] = 2
    hybrid_memory_mib: Annotated[
        int, msgspec.Meta(ge=64, description="What one hybrid job may use of memory.")
    ] = 1024
    hybrid_disk_mib: Annotated[
        int, msgspec.Meta(ge=1, description="What one hybrid job may use of the disk.")
    ] = 1024
    hybrid_seconds_max: Annotated[
        int, msgspec.Meta(ge=1, le=432_000, description="How long one hybrid job may run.")
    ] = 432_000

    endpoints: Annotated[
        dict[str, str],
        msgspec.Meta(description="Other addresses of vendors' APIs, by provider (and s3)."),
    ] = {}

    prices: Annotated[
        dict[str, Agreed],
        msgspec.Meta(
            description="What vendors ask by your own contracts, by provider; it goes before the "
            "price list, and is needed where there is none."
        ),
    ] = {}

    def __post_init__(self) -> None:
        for text in (self.usd_per_eur, self.budget or "0"):
            _amount(text)
        if not Decimal(self.usd_per_eur) > 0:
            raise ValueError("usd_per_eur must be above 0")
        if self.currency not in ("EUR", "USD"):
            raise ValueError("currency is EUR or USD")
