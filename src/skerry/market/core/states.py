"""The states of the market's things and the reasons why they end, by Akash's names and numbers."""

from __future__ import annotations

import enum


class DeploymentState(enum.StrEnum):
    """A deployment's states."""

    ACTIVE = "active"
    CLOSED = "closed"


class GroupState(enum.StrEnum):
    """A group's states."""

    OPEN = "open"
    PAUSED = "paused"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    CLOSED = "closed"


class OrderState(enum.StrEnum):
    """An order's states."""

    OPEN = "open"
    ACTIVE = "active"
    CLOSED = "closed"


class BidState(enum.StrEnum):
    """A bid's states."""

    OPEN = "open"
    ACTIVE = "active"
    LOST = "lost"
    CLOSED = "closed"


class LeaseState(enum.StrEnum):
    """A lease's states."""

    ACTIVE = "active"
    RECLAIMING = "reclaiming"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    CLOSED = "closed"


RUNNING = frozenset({LeaseState.ACTIVE, LeaseState.RECLAIMING})


class Reason(enum.IntEnum):
    """Why a lease was closed. From 10000 on it was the provider, from 20000 on the money."""

    NONE = 0
    OWNER = 1
    UNSTABLE = 10000
    DECOMMISSION = 10001
    UNSPECIFIED = 10002
    MANIFEST_TIMEOUT = 10003
    INSUFFICIENT_FUNDS = 20000

    @property
    def words(self) -> str:
        """What it means, for people."""
        return _WORDS[self]

    @property
    def akash(self) -> str:
        """The name in Akash's protocol."""
        return _AKASH[self]


_WORDS = {
    Reason.NONE: "",
    Reason.OWNER: "closed by its tenant",
    Reason.UNSTABLE: "the workload was unstable",
    Reason.DECOMMISSION: "the provider withdraws the machine",
    Reason.UNSPECIFIED: "closed by its provider without a reason",
    Reason.MANIFEST_TIMEOUT: "no manifest came in time",
    Reason.INSUFFICIENT_FUNDS: "the money ran out",
}
_AKASH = {
    Reason.NONE: "lease_closed_invalid",
    Reason.OWNER: "lease_closed_owner",
    Reason.UNSTABLE: "lease_closed_reason_unstable",
    Reason.DECOMMISSION: "lease_closed_reason_decommission",
    Reason.UNSPECIFIED: "lease_closed_reason_unspecified",
    Reason.MANIFEST_TIMEOUT: "lease_closed_reason_manifest_timeout",
    Reason.INSUFFICIENT_FUNDS: "lease_closed_reason_insufficient_funds",
}
PROVIDERS_REASONS = frozenset(
    {Reason.UNSTABLE, Reason.DECOMMISSION, Reason.UNSPECIFIED, Reason.MANIFEST_TIMEOUT}
)
