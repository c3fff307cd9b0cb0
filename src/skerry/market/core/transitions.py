"""What each message changes. It has passed its checks; what follows from it happens with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skerry.kernel.errors import CONFLICT
from skerry.kernel.money import Rate
from skerry.market.core import books as b
from skerry.market.core import messages as m
from skerry.market.core.award import award
from skerry.market.core.books import Why
from skerry.market.core.entities import Bid, Deployment, Group, Lease, Order, Provider
from skerry.market.core.escrow import Account, Sharing
from skerry.market.core.escrow import State as EscrowState
from skerry.market.core.names import BidId, DeploymentId, GroupId, OrderId
from skerry.market.core.reputation import majority
from skerry.market.core.state import State
from skerry.market.core.states import (
    BidState,
    DeploymentState,
    GroupState,
    LeaseState,
    OrderState,
    Reason,
)

SLASHES_KEPT = 10_000
VERDICTS_KEPT = 2000
"""Of how many orders that were cleared the verdicts on all providers are kept."""
PROBES_FAILED_MAX = 3
"""After so many failed probes in a row a lease counts against its provider, once."""


def apply(state: State, message: m.AnyMessage, at: int) -> None:
    """Change the state as a message says."""
    _TRANSITIONS[type(message)](state, message, at)


def _fund(state: State, message: m.Fund, at: int) -> None:
    state.books.move(b.BANK, b.wallet(message.owner), message.amount, Why.PAID_IN, at)


def _pay_out(state: State, message: m.PayOut, at: int) -> None:
    state.books.move(b.wallet(message.owner), b.BANK, message.amount, Why.PAID_OUT, at)


def _admit(state: State, message: m.Admit, _at: int) -> None:
    (state.admitted.add if message.admitted else state.admitted.discard)(message.address)


def _register(state: State, message: m.RegisterProvider, at: int) -> None:
    known = state.providers.get(message.owner)
    provider = Provider(
        address=message.owner,
        name=message.name,
        url=message.url,
        country=message.country.upper(),
        isolation=message.isolation,
        capacity=message.capacity,
        attributes=dict(message.attributes),
        images=message.images,
        posted=message.posted,
        since=known.since if known else at,
        node=message.node,
    )
    if known is not None:
        provider.signed, provider.record = known.signed, known.record
        provider.leases = known.leases
    state.providers[message.owner] = provider
    state.board.put(provider)


def _sign(state: State, message: m.SignAttributes, _at: int) -> None:
    signed = state.providers[message.provider].signed
    if message.attributes:
        signed[message.auditor] = dict(message.attributes)
    else:
        signed.pop(message.auditor, None)
    state.board.changed()


def _post_bond(state: State, message: m.PostBond, at: int) -> None:
    source, target = b.wallet(message.provider), b.bond(message.provider)
    state.books.move(source, target, message.amount, Why.BOND, at)
    state.board.changed()


def _return_bond(state: State, message: m.ReturnBond, at: int) -> None:
    source, target = b.bond(message.provider), b.wallet(message.provider)
    state.books.move(source, target, message.amount, Why.BOND_RETURNED, at)
    state.board.changed()


def _create_deployment(state: State, message: m.CreateDeployment, at: int) -> None:
    dseq = state.dseqs.get(message.owner, 0) + 1
    state.dseqs[message.owner] = dseq
    name = DeploymentId(message.owner, dseq)
    deployment = Deployment(
        name, message.name, message.manifest_hash, at, message.unit, message.app
    )
    sharing = Sharing.PRO_RATA if message.pro_rata else Sharing.ORDER
    account = Account(str(name), message.owner, at, sharing)
    state.deployments[name], state.accounts[name] = deployment, account
    state.escrow.deposit(account, message.owner, message.deposit, at, "balance")
    if message.unit:
        state.units.setdefault(message.unit, []).append(name)
    for gseq, (spec, terms) in enumerate(zip(message.groups, message.terms, strict=True), start=1):
        images = message.images[gseq - 1] if message.images else ()
        group = Group(GroupId(*name, gseq), spec, terms, at, images)
        deployment.groups.append(group.id)
        state.groups[group.id] = group
        _open_order(state, group, at)


def _open_order(state: State, group: Group, at: int) -> None:
    group.orders += 1
    order = Order(OrderId(*group.id, group.orders), group, state.limit(group), at)
    state.orders[order.id] = order
    state.open_orders[order.id] = None


def _deposit(state: State, message: m.Deposit, at: int) -> None:
    account = state.accounts[message.deployment]
    own = message.depositor == message.deployment.owner
    source = "balance" if own else "grant"
    state.escrow.deposit(account, message.depositor, message.amount, at, source)


def _update(state: State, message: m.UpdateDeployment, _at: int) -> None:
    state.deployments[message.deployment].manifest_hash = message.manifest_hash


def _close_deployment(state: State, message: m.CloseDeployment, at: int) -> None:
    if settle(state, message.deployment, at):
        return
    deployment = state.deployments[message.deployment]
    for name in deployment.groups:
        _end_group(state, state.groups[name], GroupState.CLOSED, Reason.OWNER, at)
    state.escrow.close(state.accounts[message.deployment], at)
    _end_deployment(deployment, Reason.OWNER, at)


def _end_deployment(deployment: Deployment, reason: Reason, at: int) -> None:
    deployment.state, deployment.reason = DeploymentState.CLOSED, reason
    deployment.closed_at = at


def _end_group(state: State, group: Group, into: GroupState, reason: Reason, at: int) -> None:
    """End a group's open order or its lease; it asks for no other."""
    if group.state is not GroupState.CLOSED:
        group.state = into
    order = state.orders[OrderId(*group.id, group.orders)]
    lease = state.lease_of(order.id)
    if lease is not None:
        _end_lease(state, lease, LeaseState.CLOSED, reason, at)
    if order.state is OrderState.OPEN:
        _close_order(state, order, BidState.CLOSED, at)


def _close_group(state: State, message: m.CloseGroup, at: int) -> None:
    if not settle(state, message.group.deployment, at):
        group = state.groups[message.group]
        _end_group(state, group, GroupState.CLOSED, Reason.OWNER, at)


def _pause_group(state: State, message: m.PauseGroup, at: int) -> None:
    if not settle(state, message.group.deployment, at):
        group = state.groups[message.group]
        _end_group(state, group, GroupState.PAUSED, Reason.OWNER, at)


def _start_group(state: State, message: m.StartGroup, at: int) -> None:
    group = state.groups[message.group]
    group.state = GroupState.OPEN
    _open_order(state, group, at)


def _create_bid(state: State, message: m.CreateBid, at: int) -> None:
    bid = Bid(
        BidId(*message.order, message.provider),
        message.price,
        at,
        message.deposit,
        message.reclamation_seconds,
    )
    state.bids[bid.id] = bid
    order = state.orders[message.order]
    order.bids.append(bid.id)
    order.declined.pop(message.provider, None)
    source, target = b.wallet(message.provider), b.bid_deposit(str(bid.id))
    state.books.move(source, target, message.deposit, Why.BID, at)


def _decline(state: State, message: m.Decline, _at: int) -> None:
    state.orders[message.order].declined[message.provider] = message.reasons


def _end_bid(state: State, bid: Bid, into: BidState, at: int) -> None:
    """End a bid; its deposit goes back."""
    bid.state = into
    source, target = b.bid_deposit(str(bid.id)), b.wallet(bid.id.provider)
    state.books.move(source, target, state.books.balance(source), Why.BID_RETURNED, at)


def _close_order(state: State, order: Order, bids: BidState, at: int) -> None:
    order.state = OrderState.CLOSED
    state.open_orders.pop(order.id, None)
    for name in order.bids:
        if state.bids[name].state is BidState.OPEN:
            _end_bid(state, state.bids[name], bids, at)


def _close_bid(state: State, message: m.CloseBid, at: int) -> None:
    bid = state.bids[message.bid]
    if bid.state is BidState.OPEN:
        _end_bid(state, bid, BidState.CLOSED, at)
        return
    if settle(state, message.bid.deployment, at):
        return
    lease = state.leases[message.bid]
    announced = lease.state is LeaseState.RECLAIMING
    state.groups[message.bid.group].state = GroupState.PAUSED
    _end_lease(state, lease, LeaseState.CLOSED, message.reason, at, announced=announced)


def _end_lease(
    state: State,
    lease: Lease,
    into: LeaseState,
    reason: Reason,
    at: int,
    *,
    announced: bool = False,
) -> None:
    """End a lease with its payment, its bid and its order."""
    lease.state, lease.reason, lease.closed_at = into, reason, at
    account = state.accounts[lease.id.deployment]
    payment = account.payments[str(lease.id)]
    if payment.state is EscrowState.OPEN:
        state.escrow.close_payment(account, payment, at)
    state.running.pop(lease.id, None)
    _end_bid(state, state.bids[lease.id], BidState.CLOSED, at)
    _close_order(state, state.orders[lease.id.order], BidState.CLOSED, at)
    provider = state.providers[lease.id.provider]
    provider.leases.discard(lease.id)
    if reason is not Reason.MANIFEST_TIMEOUT:
        well = reason in (Reason.OWNER, Reason.INSUFFICIENT_FUNDS) or announced
        provider.record.note(well, at)


def _clear(state: State, message: m.Clear, at: int) -> None:
    order = state.orders[message.order]
    outcome, verdicts = award(state, order, at)
    order.verdicts = verdicts
    state.cleared.append(order.id)
    if len(state.cleared) > VERDICTS_KEPT:
        oldest = state.orders[state.cleared.pop(0)]
        if oldest.state is not OrderState.OPEN:
            oldest.verdicts = ()
    if outcome.winner is None or outcome.price is None:
        return
    name = BidId(*order.id, outcome.winner)
    if name not in state.bids:
        state.bids[name] = Bid(name, outcome.price, at, 0, order.group.terms.reclamation_seconds)
        order.bids.append(name)
    _make_lease(state, order, state.bids[name], outcome.price, at)


def _create_lease(state: State, message: m.CreateLease, at: int) -> None:
    order, bid = state.orders[message.bid.order], state.bids[message.bid]
    _make_lease(state, order, bid, bid.price, at)


def _make_lease(state: State, order: Order, bid: Bid, price: Rate, at: int) -> None:
    """Turn a bid into a lease: its payment starts, and the other bids are lost."""
    name = bid.id
    if settle(state, name.deployment, at):
        raise CONFLICT(f"The escrow of {name.deployment} is overdrawn.")
    account = state.accounts[name.deployment]
    state.escrow.open_payment(account, str(name), name.provider, price, at)
    lease = Lease(name, price, at, bid.reclamation_seconds)
    state.leases[name] = lease
    state.running[name] = None
    state.providers[name.provider].leases.add(name)
    bid.state, order.state, order.winner = BidState.ACTIVE, OrderState.ACTIVE, name.provider
    state.open_orders.pop(order.id, None)
    for other in order.bids:
        if state.bids[other].state is BidState.OPEN:
            _end_bid(state, state.bids[other], BidState.LOST, at)


def _close_lease(state: State, message: m.CloseLease, at: int) -> None:
    if settle(state, message.lease.deployment, at):
        return
    _end_lease(state, state.leases[message.lease], LeaseState.CLOSED, message.reason, at)
    group = state.groups[message.lease.group]
    if group.state is GroupState.OPEN:
        _open_order(state, group, at)


def _withdraw(state: State, message: m.Withdraw, at: int) -> None:
    if settle(state, message.lease.deployment, at):
        return
    account = state.accounts[message.lease.deployment]
    state.escrow.withdraw(account, account.payments[str(message.lease)], at)


def _start_reclaim(state: State, message: m.StartReclaim, at: int) -> None:
    if settle(state, message.lease.deployment, at):
        return
    lease = state.leases[message.lease]
    lease.state, lease.reclaim_reason = LeaseState.RECLAIMING, message.reason
    lease.reclaim_at = at + lease.reclamation_seconds * 1000


def _settle(state: State, message: m.Settle, at: int) -> None:
    active = [
        name
        for name in message.deployments
        if state.deployments[name].state is DeploymentState.ACTIVE
    ]
    with state.books.together(at):
        dry = [name for name in active if state.escrow.settle(state.accounts[name], at)]
    for name in dry:
        settle(state, name, at)


def settle(state: State, name: DeploymentId, at: int) -> bool:
    """Settle a deployment's escrow; if it ran dry, end everything that it paid for."""
    account = state.accounts[name]
    if account.state is EscrowState.CLOSED or not state.escrow.settle(account, at):
        return False
    deployment = state.deployments[name]
    if deployment.state is DeploymentState.CLOSED:
        return True
    for group_name in deployment.groups:
        group = state.groups[group_name]
        order = state.orders[OrderId(*group_name, group.orders)]
        lease = state.lease_of(order.id)
        if lease is not None:
            reason = Reason.INSUFFICIENT_FUNDS
            _end_lease(state, lease, LeaseState.INSUFFICIENT_FUNDS, reason, at)
        elif order.state is OrderState.OPEN:
            _close_order(state, order, BidState.CLOSED, at)
        if group.state is not GroupState.CLOSED:
            group.state = GroupState.INSUFFICIENT_FUNDS
    _end_deployment(deployment, Reason.INSUFFICIENT_FUNDS, at)
    return True


def _report(state: State, message: m.Report, at: int) -> None:
    lease = state.leases[message.lease]
    lease.status, lease.digest = message.status, message.digest
    unit = state.deployments[message.lease.deployment].unit
    if not unit:
        return
    done = {}
    for deployment in state.units[unit]:
        reported = [each for each in state.leases_of(deployment) if each.status is not None]
        if not reported:
            return
        done[reported[-1].id.provider] = f"{reported[-1].status}:{reported[-1].digest}"
    agreed, wrong = majority(done)
    if agreed is None or len(done) < 2:
        return
    stake = state.groups[message.lease.group].terms.bond
    for provider in done:
        state.providers[provider].record.judge(provider not in wrong, at)
        if provider in wrong and stake:
            _forfeit(state, provider, stake, f"unit {unit}: its result differs", at)


def _probe(state: State, message: m.Probe, at: int) -> None:
    lease = state.leases[message.lease]
    lease.probes += 1
    lease.probes_failed = 0 if message.answered else lease.probes_failed + 1
    if lease.probes_failed == PROBES_FAILED_MAX:
        state.providers[lease.id.provider].record.note(False, at)


def _slash(state: State, message: m.Slash, at: int) -> None:
    _forfeit(state, message.provider, message.amount, message.evidence, at)


def _forfeit(state: State, provider: str, amount: int, evidence: str, at: int) -> None:
    """Take a part of a bond, as far as it reaches, and note why."""
    source = b.bond(provider)
    amount = min(amount, state.books.balance(source))
    state.books.move(source, b.SLASHED, amount, Why.SLASH, at)
    state.slashes.append((provider, amount, evidence, at))
    del state.slashes[:-SLASHES_KEPT]
    state.board.changed()


_TRANSITIONS: dict[type, Callable[[State, Any, int], None]] = {
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
