"""What tenants, providers and auditors may ask of a market; each message has one signer.

A message is an entry of the market's log as it is, with its signer and its time; the state, and
whether the message was refused, follow from the log alone.
"""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.kernel.money import Rate
from skerry.market.core.names import BidId, DeploymentId, GroupId, LeaseId, OrderId
from skerry.market.core.states import Reason
from skerry.market.core.terms import Terms
from skerry.market.sdl.model import GroupSpec


class Message(msgspec.Struct, frozen=True, tag_field="message", forbid_unknown_fields=True):
    """A message."""


class Fund(Message, frozen=True, tag="fund"):
    """Money that `owner` paid in; only the operator of the market says so."""

    owner: str
    amount: int


class PayOut(Message, frozen=True, tag="pay-out"):
    """Money that left the market for `owner`."""

    owner: str
    amount: int


class Admit(Message, frozen=True, tag="admit"):
    """Let an address register as a provider, or no longer; only the operator may."""

    address: str
    admitted: bool = True


class PriceList(msgspec.Struct, frozen=True):
    """Standing prices in micro-units an hour: of a core, a GiB of memory, of storage, a GPU."""

    cpu: int
    memory_gib: int
    storage_gib: int
    gpu: int = 0


class Capacity(msgspec.Struct, frozen=True):
    """What a provider measured of its machine. It is a claim: nothing is paid for it."""

    cpu_milli: int
    memory_bytes: int
    storage_bytes: int
    gpu_units: int = 0
    gpu_model: str = ""
    cpu_score: int = 0


class RegisterProvider(Message, frozen=True, tag="register-provider"):
    """A provider says, or says again, what it is. `node` is its node's id in the federation."""

    owner: str
    name: str
    url: str
    country: str
    isolation: tuple[str, ...]
    capacity: Capacity
    attributes: dict[str, str] = {}
    images: tuple[str, ...] = ()
    posted: PriceList | None = None
    node: str = ""


class SignAttributes(Message, frozen=True, tag="sign-attributes"):
    """An auditor vouches for attributes of a provider; none withdraws them."""

    auditor: str
    provider: str
    attributes: dict[str, str]


class PostBond(Message, frozen=True, tag="post-bond"):
    """A provider stakes money on its good conduct."""

    provider: str
    amount: int


class ReturnBond(Message, frozen=True, tag="return-bond"):
    """A provider takes its stake back while it serves nobody."""

    provider: str
    amount: int


class CreateDeployment(Message, frozen=True, tag="create-deployment"):
    """A tenant asks for providers of every group, and puts money into escrow.

    `images` are those that each group's manifest will name, so that who lacks one does not bid.
    Deployments of one `unit` do the same work, and their results are compared. `app` is the app
    whose policy decides where it may run.
    """

    owner: str
    groups: tuple[GroupSpec, ...]
    terms: tuple[Terms, ...]
    manifest_hash: str
    deposit: int
    name: str = ""
    pro_rata: bool = False
    unit: str = ""
    images: tuple[tuple[str, ...], ...] = ()
    app: str = ""


class Deposit(Message, frozen=True, tag="deposit"):
    """Somebody adds money to a deployment's escrow; it goes back to them if it is not needed."""

    deployment: DeploymentId
    depositor: str
    amount: int


class UpdateDeployment(Message, frozen=True, tag="update-deployment"):
    """A tenant announces a new manifest for what it has already."""

    deployment: DeploymentId
    manifest_hash: str


class CloseDeployment(Message, frozen=True, tag="close-deployment"):
    """A tenant ends a deployment."""

    deployment: DeploymentId


class CloseGroup(Message, frozen=True, tag="close-group"):
    """A tenant ends a group."""

    group: GroupId


class PauseGroup(Message, frozen=True, tag="pause-group"):
    """A tenant ends a group's lease and asks for no other."""

    group: GroupId


class StartGroup(Message, frozen=True, tag="start-group"):
    """A tenant asks again for a provider of a paused group."""

    group: GroupId


class CreateBid(Message, frozen=True, tag="create-bid"):
    """A provider offers to serve an order."""

    order: OrderId
    provider: str
    price: Rate
    deposit: int
    reclamation_seconds: int = 0


class Decline(Message, frozen=True, tag="decline"):
    """A provider says why it does not bid."""

    order: OrderId
    provider: str
    reasons: tuple[str, ...]


class CloseBid(Message, frozen=True, tag="close-bid"):
    """A provider takes an offer back, or ends the lease that it became."""

    bid: BidId
    reason: Reason = Reason.UNSPECIFIED


class Clear(Message, frozen=True, tag="clear"):
    """The market applies an order's own rule to its bids."""

    order: OrderId


class CreateLease(Message, frozen=True, tag="create-lease"):
    """A tenant takes a bid."""

    bid: BidId


class CloseLease(Message, frozen=True, tag="close-lease"):
    """A tenant ends a lease; the group asks for another provider."""

    lease: LeaseId
    reason: Reason = Reason.OWNER


class Withdraw(Message, frozen=True, tag="withdraw"):
    """A provider takes what a lease earned so far."""

    lease: LeaseId


class StartReclaim(Message, frozen=True, tag="start-reclaim"):
    """A provider announces that it will end a lease after the window that it promised."""

    lease: LeaseId
    reason: Reason = Reason.DECOMMISSION


class Settle(Message, frozen=True, tag="settle"):
    """The market settles deployments up to now."""

    deployments: tuple[DeploymentId, ...]


class Report(Message, frozen=True, tag="report"):
    """A provider reports what a lease's work came to: its exit status and its output's digest."""

    lease: LeaseId
    status: int
    digest: str


class Probe(Message, frozen=True, tag="probe"):
    """The market notes what a probe of a lease found."""

    lease: LeaseId
    answered: bool


class Slash(Message, frozen=True, tag="slash"):
    """The market forfeits a part of a provider's bond, for evidence that it names."""

    provider: str
    amount: int
    evidence: str


AnyMessage = (
    Fund
    | PayOut
    | Admit
    | RegisterProvider
    | SignAttributes
    | PostBond
    | ReturnBond
    | CreateDeployment
    | Deposit
    | UpdateDeployment
    | CloseDeployment
    | CloseGroup
    | PauseGroup
    | StartGroup
    | CreateBid
    | Decline
    | CloseBid
    | Clear
    | CreateLease
    | CloseLease
    | Withdraw
    | StartReclaim
    | Settle
    | Report
    | Probe
    | Slash
)


class Signed(msgspec.Struct, frozen=True, array_like=True):
    """A message and who signed it."""

    signer: str
    message: AnyMessage


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One entry of the market's log: messages in order, and when they came (ms since 1970)."""

    at: int
    messages: tuple[Signed, ...]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Entry)
_message_decoder = msgspec.json.Decoder(AnyMessage)


def encode(entry: Entry) -> bytes:
    """Return an entry's bytes."""
    return _encoder.encode(entry)


def decode(body: bytes) -> Entry:
    """Read an entry."""
    return _decoder.decode(body)


def read_message(value: bytes | Any) -> AnyMessage:
    """Read one message from JSON; raises `msgspec.ValidationError` if it is none."""
    found: AnyMessage = (
        _message_decoder.decode(value)
        if isinstance(value, bytes)
        else msgspec.convert(value, AnyMessage)
    )
    return found
