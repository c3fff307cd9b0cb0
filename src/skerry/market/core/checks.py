"""What a message must pass before it becomes an entry of the log; Akash's checks in its order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skerry.kernel.errors import ALREADY_EXISTS, BUSY, CONFLICT, DENIED, INVALID, NOT_FOUND
from skerry.market.core import books as b
from skerry.market.core import messages as m
from skerry.market.core import prices
from skerry.market.core.board import places
from skerry.market.core.clearing import screen
from skerry.market.core.escrow import State as EscrowState
from skerry.market.core.names import DeploymentId
from skerry.market.core.prices import in_units
from skerry.market.core.state import BID_DEPOSIT, BIDS_MAX, DEPOSIT_MIN, State
from skerry.market.core.states import (
    PROVIDERS_REASONS,
    RUNNING,
    BidState,
    DeploymentState,
    GroupState,
    LeaseState,
    OrderState,
)

RECLAMATION_SECONDS = (3600, 720 * 3600)
GROUPS_MAX = 20
ATTRIBUTES_MAX = 200
AUDITORS_MAX = 100
TEXT_MAX = 512


def check(state: State, message: m.AnyMessage, signer: str, at: int) -> None:
    """Raise why a message of a signer is refused."""
    _CHECKS[type(message)](state, message, signer, at)


def _signed_by(signer: str, *wanted: str) -> None:
    if signer not in wanted:
        raise DENIED(
            f"{signer} may not do this.", why=f"It is for {' or '.join(wanted)} to decide."
        )


def _positive(amount: int) -> None:
    if not 0 < amount <= 10**15:
        raise INVALID(f"{amount} is not an amount.", why="It is 1 to 10^15 micro-units.")


def _held(state: State, owner: str, amount: int) -> None:
    held = state.books.balance(b.wallet(owner))
    if held < amount:
        raise CONFLICT(
            f"The wallet holds {in_units(held)}, and {in_units(amount)} are needed.",
            why=f"Escrow is paid in advance, from the wallet of {owner}.",
            hint="skerry market fund 10",
        )


def _fund(state: State, message: m.Fund, signer: str, _at: int) -> None:
    _signed_by(signer, state.operator)
    _positive(message.amount)


def _pay_out(state: State, message: m.PayOut, signer: str, _at: int) -> None:
    _signed_by(signer, state.operator)
    _positive(message.amount)
    _held(state, message.owner, message.amount)


def _admit(state: State, message: m.Admit, signer: str, _at: int) -> None:
    _signed_by(signer, state.operator)
    if message.address == state.operator and not message.admitted:
        raise INVALID("The operator's own address stays admitted.")


def _register(state: State, message: m.RegisterProvider, signer: str, _at: int) -> None:
    _signed_by(signer, message.owner)
    if message.owner not in state.admitted:
        raise DENIED(
            f"{message.owner} is not admitted to this market.",
            why="Its operator decides who may offer here.",
            hint=f"skerry market admit {message.owner}",
        )
    texts = [message.name, message.url, message.country, message.node]
    texts += message.attributes.values()
    if len(message.attributes) > ATTRIBUTES_MAX or len(message.images) > 10 * ATTRIBUTES_MAX:
        raise INVALID("A provider has too many attributes or images.")
    if any(len(each) > TEXT_MAX for each in (*texts, *message.attributes, *message.images)):
        raise INVALID(f"A text of a provider is longer than {TEXT_MAX} characters.")
    if not message.url.startswith(("http://", "https://")):
        raise INVALID(f"{message.url!r} is no address of a provider.")


def _sign(state: State, message: m.SignAttributes, signer: str, _at: int) -> None:
    _signed_by(signer, message.auditor)
    signed = state.provider(message.provider).signed
    if len(signed) >= AUDITORS_MAX and message.auditor not in signed:
        raise BUSY(f"{AUDITORS_MAX} auditors vouch for {message.provider} already.")
    if any(len(each) > TEXT_MAX for pair in message.attributes.items() for each in pair):
        raise INVALID(f"An attribute is longer than {TEXT_MAX} characters.")
    if len(message.attributes) > ATTRIBUTES_MAX:
        raise INVALID(f"At most {ATTRIBUTES_MAX} attributes are signed.")


def _post_bond(state: State, message: m.PostBond, signer: str, _at: int) -> None:
    _signed_by(signer, message.provider)
    state.provider(message.provider)
    _positive(message.amount)
    _held(state, message.provider, message.amount)


def _return_bond(state: State, message: m.ReturnBond, signer: str, _at: int) -> None:
    _signed_by(signer, message.provider)
    provider = state.provider(message.provider)
    _positive(message.amount)
    if state.bond(message.provider) < message.amount:
        raise CONFLICT(f"The bond is {in_units(state.bond(message.provider))}.")
    if provider.leases:
        raise CONFLICT(
            "A bond stays while there are leases.", why=f"There are {len(provider.leases)}."
        )


def _create_deployment(state: State, message: m.CreateDeployment, signer: str, _at: int) -> None:
    _signed_by(signer, message.owner)
    if not 1 <= len(message.groups) <= GROUPS_MAX or len(message.terms) != len(message.groups):
        raise INVALID(f"A deployment has 1 to {GROUPS_MAX} groups, each with its terms.")
    if message.images and len(message.images) != len(message.groups):
        raise INVALID("The images of every group are named, or of none.")
    names = [group.name for group in message.groups]
    if len(set(names)) != len(names):
        raise INVALID("Two groups have the same name.")
    if len(message.manifest_hash) != 64:
        raise INVALID("The manifest's hash is not a SHA-256 in hexadecimal.")
    for group, terms in zip(message.groups, message.terms, strict=True):
        if not group.resources:
            raise INVALID(f"Group {group.name} asks for nothing.")
        for unit in group.resources:
            prices.per_block(unit.amount)
        if terms.reclamation_seconds > RECLAMATION_SECONDS[1]:
            raise INVALID("A reclamation window is at most 720 hours.")
    if message.deposit < DEPOSIT_MIN:
        raise INVALID(f"A deployment puts down at least {in_units(DEPOSIT_MIN)}.")
    _held(state, message.owner, message.deposit)


def _deposit(state: State, message: m.Deposit, signer: str, _at: int) -> None:
    _signed_by(signer, message.depositor)
    state.deployment(message.deployment)
    _positive(message.amount)
    if state.accounts[message.deployment].state is EscrowState.CLOSED:
        raise CONFLICT(f"The escrow of {message.deployment} is closed.")
    _held(state, message.depositor, message.amount)


def _own_deployment(state: State, id: DeploymentId, signer: str) -> None:  # noqa: A002 (its own word)
    found = state.deployment(id)
    _signed_by(signer, id.owner)
    if found.state is not DeploymentState.ACTIVE:
        raise CONFLICT(f"Deployment {id} is closed.", why=found.reason.words)


def _update(state: State, message: m.UpdateDeployment, signer: str, _at: int) -> None:
    _own_deployment(state, message.deployment, signer)
    if len(message.manifest_hash) != 64:
        raise INVALID("The manifest's hash is not a SHA-256 in hexadecimal.")


def _close_deployment(state: State, message: m.CloseDeployment, signer: str, _at: int) -> None:
    _own_deployment(state, message.deployment, signer)


def _close_group(state: State, message: m.CloseGroup, signer: str, _at: int) -> None:
    group = state.group(message.group)
    _own_deployment(state, message.group.deployment, signer)
    if group.state is GroupState.CLOSED:
        raise CONFLICT(f"Group {message.group} is closed.")


def _pause_group(state: State, message: m.PauseGroup, signer: str, _at: int) -> None:
    group = state.group(message.group)
    _own_deployment(state, message.group.deployment, signer)
    if group.state is not GroupState.OPEN:
        raise CONFLICT(f"Group {message.group} is {group.state}.")


def _start_group(state: State, message: m.StartGroup, signer: str, _at: int) -> None:
    group = state.group(message.group)
    _own_deployment(state, message.group.deployment, signer)
    if group.state is not GroupState.PAUSED:
        raise CONFLICT(f"Group {message.group} is {group.state}, not paused.")


def _create_bid(state: State, message: m.CreateBid, signer: str, _at: int) -> None:
    _signed_by(signer, message.provider)
    if message.deposit < BID_DEPOSIT:
        raise INVALID(f"A bid puts down at least {in_units(BID_DEPOSIT)}.")
    order = state.order(message.order)
    if len(order.bids) >= BIDS_MAX:
        raise BUSY(f"Order {message.order} has {BIDS_MAX} bids.")
    if order.state is not OrderState.OPEN:
        raise CONFLICT(f"Order {message.order} is {order.state}.")
    if not (0 < message.price.micro < 10**24 and 0 < message.price.per < 10**24):
        raise INVALID("The price is not above 0.")
    if prices.dearer(message.price, order.limit):
        raise CONFLICT("The price is above the order's limit.")
    _may_serve(state, message)
    asked = order.group.terms.reclamation_seconds
    window = message.reclamation_seconds
    if window < asked:
        raise CONFLICT(f"The order asks for {asked} s of notice, the bid promises {window}.")
    if window and not RECLAMATION_SECONDS[0] <= window <= RECLAMATION_SECONDS[1]:
        raise INVALID("A reclamation window is 1 to 720 hours.")
    if any(bid.provider == message.provider for bid in order.bids):
        raise ALREADY_EXISTS(f"{message.provider} bids on {message.order} already.")
    _held(state, message.provider, message.deposit)


def _may_serve(state: State, message: m.CreateBid) -> None:
    """Raise unless a bidder is known and fits what its order demands."""
    place = state.board.place(message.provider)
    if place is None or message.provider not in state.admitted:
        raise NOT_FOUND(f"{message.provider} is not a provider here.")
    filters = state.board.filters(state.orders[message.order].group, state.bond)
    left, reasons = screen(state.board, filters, 1 << place)
    if place not in places(left):
        raise CONFLICT(
            f"{message.provider} does not fit order {message.order}.",
            why=reasons[message.provider],
        )


def _decline(state: State, message: m.Decline, signer: str, _at: int) -> None:
    _signed_by(signer, message.provider)
    order = state.order(message.order)
    state.provider(message.provider)
    if order.state is not OrderState.OPEN:
        raise CONFLICT(f"Order {message.order} is {order.state}.")
    if len(message.reasons) > 20 or any(len(each) > TEXT_MAX for each in message.reasons):
        raise INVALID("The reasons are too many or too long.")


def _close_bid(state: State, message: m.CloseBid, signer: str, at: int) -> None:
    bid = state.bid(message.bid)
    _signed_by(signer, message.bid.provider)
    if bid.state is BidState.OPEN:
        return
    lease = state.lease(message.bid)
    if lease.state not in RUNNING:
        raise CONFLICT(f"Lease {message.bid} is {lease.state}.", why=lease.reason.words)
    if message.reason not in PROVIDERS_REASONS:
        raise INVALID(f"{message.reason} is no reason of a provider.")
    if not lease.reclamation_seconds:
        return
    if lease.state is not LeaseState.RECLAIMING:
        raise CONFLICT(
            f"Lease {message.bid} promises {lease.reclamation_seconds} s of notice.",
            why="Its provider must announce the end first, and serve until then.",
        )
    if at < lease.reclaim_at:
        raise CONFLICT(
            f"The notice of {message.bid} lasts {(lease.reclaim_at - at) // 1000} s more."
        )


def _clear(state: State, message: m.Clear, signer: str, _at: int) -> None:
    _signed_by(signer, state.operator)
    order = state.order(message.order)
    if order.state is not OrderState.OPEN:
        raise CONFLICT(f"Order {message.order} is {order.state}.")


def _create_lease(state: State, message: m.CreateLease, signer: str, at: int) -> None:
    bid = state.bid(message.bid)
    _signed_by(signer, message.bid.owner)
    if bid.state is not BidState.OPEN:
        raise CONFLICT(f"Bid {message.bid} is {bid.state}.")
    order = state.order(message.bid.order)
    if order.state is not OrderState.OPEN:
        raise CONFLICT(f"Order {message.bid.order} is {order.state}.")
    if order.group.state is not GroupState.OPEN:
        raise CONFLICT(f"Group {message.bid.group} is {order.group.state}.")
    dry = state.dry_at(message.bid.deployment)
    account = state.accounts[message.bid.deployment]
    if account.state is not EscrowState.OPEN or (dry is not None and dry < at):
        raise CONFLICT(f"The escrow of {message.bid.deployment} is empty.")


def _close_lease(state: State, message: m.CloseLease, signer: str, _at: int) -> None:
    lease = state.lease(message.lease)
    _signed_by(signer, message.lease.owner)
    if lease.state not in RUNNING:
        raise CONFLICT(f"Lease {message.lease} is {lease.state}.", why=lease.reason.words)


def _withdraw(state: State, message: m.Withdraw, signer: str, _at: int) -> None:
    lease = state.lease(message.lease)
    _signed_by(signer, message.lease.provider)
    if lease.state not in RUNNING:
        raise CONFLICT(
            f"Lease {message.lease} is {lease.state}.", why="All that it earned was paid out."
        )


def _start_reclaim(state: State, message: m.StartReclaim, signer: str, _at: int) -> None:
    lease = state.lease(message.lease)
    _signed_by(signer, message.lease.provider)
    if lease.state is LeaseState.RECLAIMING:
        raise CONFLICT(f"The end of {message.lease} is announced already.")
    if lease.state is not LeaseState.ACTIVE:
        raise CONFLICT(f"Lease {message.lease} is {lease.state}.", why=lease.reason.words)
    if not lease.reclamation_seconds:
        raise CONFLICT(
            f"Lease {message.lease} promises no notice.", why="It can be closed at once."
        )
    if message.reason not in PROVIDERS_REASONS:
        raise INVALID(f"{message.reason} is no reason of a provider.")


def _settle(state: State, message: m.Settle, signer: str, _at: int) -> None:
    _signed_by(signer, state.operator)
    for each in message.deployments:
        state.deployment(each)


def _report(state: State, message: m.Report, signer: str, _at: int) -> None:
    lease = state.lease(message.lease)
    _signed_by(signer, message.lease.provider)
    if lease.status is not None:
        raise ALREADY_EXISTS(f"The result of {message.lease} is known.")
    if len(message.digest) > 128:
        raise INVALID("The digest is too long.")


def _probe(state: State, message: m.Probe, signer: str, _at: int) -> None:
    _signed_by(signer, state.operator)
    state.lease(message.lease)


def _slash(state: State, message: m.Slash, signer: str, _at: int) -> None:
    _signed_by(signer, state.operator)
    state.provider(message.provider)
    _positive(message.amount)
    if not message.evidence or len(message.evidence) > TEXT_MAX:
        raise INVALID("A bond is slashed for evidence, in a few words.")


_CHECKS: dict[type, Callable[[State, Any, str, int], None]] = {
    m.Fund: _fund,
    m.PayOut: _pay_out,
    m.Admit: _admit,
    m.RegisterProvider: _register,
    m.SignAttributes: _sign,
    m.PostBond: _post_bond,
    m.ReturnBond: _return_bond,
    m.CreateDeployment: _create_deployment,
    m.Deposit: _deposit,
    m.UpdateDeployment: _update,
    m.CloseDeployment: _close_deployment,
    m.CloseGroup: _close_group,
    m.PauseGroup: _pause_group,
    m.StartGroup: _start_group,
    m.CreateBid: _create_bid,
    m.Decline: _decline,
    m.CloseBid: _close_bid,
    m.Clear: _clear,
    m.CreateLease: _create_lease,
    m.CloseLease: _close_lease,
    m.Withdraw: _withdraw,
    m.StartReclaim: _start_reclaim,
    m.Settle: _settle,
    m.Report: _report,
    m.Probe: _probe,
    m.Slash: _slash,
}
