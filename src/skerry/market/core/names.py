"""What names a deployment, a group, an order, a bid and a lease: Akash's own sequence numbers."""

from __future__ import annotations

from typing import NamedTuple

from skerry.kernel.errors import INVALID


class DeploymentId(NamedTuple):
    """A tenant's deployment."""

    owner: str
    dseq: int

    def __str__(self) -> str:
        return f"{self.owner}/{self.dseq}"


class GroupId(NamedTuple):
    """One placement of a deployment."""

    owner: str
    dseq: int
    gseq: int

    @property
    def deployment(self) -> DeploymentId:
        """The deployment that it is part of."""
        return DeploymentId(self.owner, self.dseq)

    def __str__(self) -> str:
        return f"{self.owner}/{self.dseq}/{self.gseq}"


class OrderId(NamedTuple):
    """A group's wish for a provider; a new one each time that a lease ends."""

    owner: str
    dseq: int
    gseq: int
    oseq: int

    @property
    def group(self) -> GroupId:
        """The group that it is for."""
        return GroupId(self.owner, self.dseq, self.gseq)

    @property
    def deployment(self) -> DeploymentId:
        """The deployment that it is part of."""
        return DeploymentId(self.owner, self.dseq)

    def __str__(self) -> str:
        return f"{self.owner}/{self.dseq}/{self.gseq}/{self.oseq}"


class BidId(NamedTuple):
    """A provider's offer for an order; the lease that it may become has the same name."""

    owner: str
    dseq: int
    gseq: int
    oseq: int
    provider: str
    bseq: int = 0

    @property
    def order(self) -> OrderId:
        """The order that it answers."""
        return OrderId(self.owner, self.dseq, self.gseq, self.oseq)

    @property
    def group(self) -> GroupId:
        """The group that it would serve."""
        return GroupId(self.owner, self.dseq, self.gseq)

    @property
    def deployment(self) -> DeploymentId:
        """The deployment that it is part of."""
        return DeploymentId(self.owner, self.dseq)

    def __str__(self) -> str:
        return f"{self.order}/{self.provider}"


LeaseId = BidId


def parse_lease(text: str) -> LeaseId:
    """Read `owner/dseq/gseq/oseq/provider`; raise INVALID if it is no such name."""
    parts = text.split("/")
    if len(parts) != 5 or not all(part.isascii() and part.isdigit() for part in parts[1:4]):
        raise INVALID(
            f"{text!r} does not name a lease.",
            why="A lease is owner/dseq/gseq/oseq/provider.",
            hint="skerry market leases",
        )
    owner, dseq, gseq, oseq, provider = parts
    return LeaseId(owner, int(dseq), int(gseq), int(oseq), provider)
