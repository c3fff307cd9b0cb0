"""Every history of messages keeps the market's promises, and replays to the same state."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.market.scene import EUR, OPERATOR, TENANT, Scene, group, picture

from skerry.kernel.errors import SkerryError
from skerry.kernel.money import Rate
from skerry.market.core import books as b
from skerry.market.core import messages as m
from skerry.market.core.escrow import State as EscrowState
from skerry.market.core.market import Market
from skerry.market.core.messages import AnyMessage
from skerry.market.core.names import DeploymentId
from skerry.market.core.states import (
    RUNNING,
    BidState,
    DeploymentState,
    OrderState,
    Reason,
)
from skerry.market.core.terms import Rule, Terms
from skerry.market.sdl.model import GroupSpec

PROVIDERS = st.sampled_from(["p0", "p1", "p2"])
SIGNERS = st.sampled_from([OPERATOR, TENANT, "p0", "p1", "p2", "stranger"])
LATER = st.sampled_from([0, 0, 1, 7, 333, 999, 1000, 1000, 60_000, 60_000, 3_600_000, 7_200_000])
RATES = st.builds(Rate, st.integers(1, 5000), st.sampled_from([1000, 3000, 7000, 60_000]))


def some(live: Any, known: Any) -> Any:
    """Draw mostly from what is live, and now and then from all that is known."""
    everything = st.sampled_from(list(known))
    return st.one_of(*[st.sampled_from(list(live))] * 4, everything) if live else everything


class Histories(RuleBasedStateMachine):
    """Random tenants, providers and strangers at random moments."""

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene(providers=3, money=50 * EUR)

    @initialize()
    def start(self) -> None:
        self.scene.deploy(deposit=EUR)

    def send(self, signer: str, message: AnyMessage, later: int) -> None:
        """Send a message that may be refused; what is refused changes nothing."""
        market = self.scene.market
        self.scene.now += later
        refused = market.check
        before = picture(market)
        try:
            refused(message, signer, self.scene.now)
        except SkerryError:
            assert picture(market) == before
            try:
                self.scene.send(signer, message)
            except SkerryError:
                assert picture(market) == before
                return
            raise AssertionError("what a check refuses must not be folded") from None
        try:
            self.scene.send(signer, message)
        except SkerryError as error:
            # The one refusal that only settling can find out: the money ran out meanwhile.
            assert "overdrawn" in error.what, error

    @rule(
        signer=st.just(TENANT),
        later=LATER,
        count=st.integers(1, 2),
        clearing=st.sampled_from(Rule),
        window=st.sampled_from([0, 3600]),
        deposit=st.integers(90_000, 8 * EUR),
        pro_rata=st.booleans(),
    )
    def deploy(
        self,
        signer: str,
        later: int,
        count: int,
        clearing: Rule,
        window: int,
        deposit: int,
        pro_rata: bool,
    ) -> None:
        named = tuple(
            GroupSpec(f"g{index}", group("20000.5", count=2).resources) for index in range(count)
        )
        terms = (Terms(clearing=clearing, reclamation_seconds=window),) * count
        message = m.CreateDeployment(signer, named, terms, "0" * 64, deposit, pro_rata=pro_rata)
        self.send(signer, message, later)

    @rule(
        data=st.data(),
        later=LATER,
        provider=PROVIDERS,
        price=RATES,
        window=st.sampled_from([0, 3600]),
    )
    @precondition(lambda self: self.scene.state.open_orders)
    def bid(self, data: Any, later: int, provider: str, price: Rate, window: int) -> None:
        order = data.draw(some(self.scene.state.open_orders, self.scene.state.orders))
        self.send(provider, m.CreateBid(order, provider, price, 500_000, window), later)

    @rule(data=st.data(), later=LATER, signer=SIGNERS)
    @precondition(lambda self: self.scene.state.bids)
    def take(self, data: Any, later: int, signer: str) -> None:
        state = self.scene.state
        live = [bid for order in state.open_orders for bid in state.orders[order].bids]
        signer = data.draw(st.sampled_from([signer, TENANT, TENANT, TENANT]))
        self.send(signer, m.CreateLease(data.draw(some(live, state.bids))), later)

    @rule(data=st.data(), later=LATER)
    @precondition(lambda self: self.scene.state.orders)
    def clear(self, data: Any, later: int) -> None:
        self.send(
            OPERATOR,
            m.Clear(data.draw(some(self.scene.state.open_orders, self.scene.state.orders))),
            later,
        )

    @rule(data=st.data(), later=LATER, signer=SIGNERS, what=st.integers(0, 4))
    @precondition(lambda self: self.scene.state.bids)
    def at_a_lease(self, data: Any, later: int, signer: str, what: int) -> None:
        name = data.draw(some(self.scene.state.running, self.scene.state.bids))
        right = name.owner if what == 0 else name.provider
        signer = data.draw(st.sampled_from([signer, right, right, right]))
        message: AnyMessage = (
            m.CloseLease(name),
            m.CloseBid(name, Reason.UNSTABLE),
            m.Withdraw(name),
            m.StartReclaim(name),
            m.Report(name, 0, "d"),
        )[what]
        self.send(signer, message, later)

    @rule(
        data=st.data(),
        later=LATER,
        signer=SIGNERS,
        what=st.integers(0, 5),
        money=st.integers(1, EUR),
    )
    @precondition(lambda self: self.scene.state.deployments)
    def at_a_deployment(self, data: Any, later: int, signer: str, what: int, money: int) -> None:
        name: DeploymentId = data.draw(st.sampled_from(list(self.scene.state.deployments)))
        group_name = self.scene.state.deployments[name].groups[0]
        signer = data.draw(st.sampled_from([signer, TENANT, TENANT]))
        message: AnyMessage = (
            m.Deposit(name, signer, money),
            m.CloseDeployment(name),
            m.CloseGroup(group_name),
            m.PauseGroup(group_name),
            m.StartGroup(group_name),
            m.Deposit(name, "p1", money),
        )[what]
        self.send("p1" if what == 5 else signer, message, later)

    @rule(later=LATER)
    def settle(self, later: int) -> None:
        self.send(OPERATOR, m.Settle(tuple(self.scene.state.deployments)), later)

    @rule(later=LATER, provider=PROVIDERS, money=st.integers(1, 2 * EUR), what=st.integers(0, 2))
    def bonds(self, later: int, provider: str, money: int, what: int) -> None:
        if what == 2:
            self.send(OPERATOR, m.Slash(provider, money, "a wrong result"), later)
        else:
            self.send(provider, (m.PostBond, m.ReturnBond)[what](provider, money), later)

    @invariant()
    def money_is_conserved(self) -> None:
        books = self.scene.state.books
        assert books.balanced()
        paid_in = sum(posting.amount for posting in books.of(b.BANK) if posting.source == b.BANK)
        assert -books.balance(b.BANK) == paid_in

    @invariant()
    def escrow_holds_what_it_says(self) -> None:
        state = self.scene.state
        for account in state.accounts.values():
            held = sum(deposit.balance for deposit in account.deposits)
            assert state.books.balance(b.escrow(account.id)) == held
            assert account.funds == held - sum(p.unsettled for p in account.payments.values())
            for payment in account.payments.values():
                assert state.books.balance(b.earned(payment.id)) == payment.balance
                if account.state is not EscrowState.OPEN:
                    assert payment.state is not EscrowState.OPEN

    @invariant()
    def leases_stand_on_money_and_on_bids(self) -> None:
        state = self.scene.state
        for lease in state.leases.values():
            running = lease.state in RUNNING
            account = state.accounts[lease.id.deployment]
            payment = account.payments[str(lease.id)]
            assert running == (payment.state is EscrowState.OPEN)
            assert running == (state.bids[lease.id].state is BidState.ACTIVE)
            assert running == (state.orders[lease.id.order].state is OrderState.ACTIVE)
            assert running == (lease.id in state.running)
            assert running == (lease.id in state.providers[lease.id.provider].leases)
            if running:
                assert account.state is EscrowState.OPEN
                assert state.deployments[lease.id.deployment].state is DeploymentState.ACTIVE
        for order in state.orders.values():
            active = [bid for bid in order.bids if state.bids[bid].state is BidState.ACTIVE]
            assert len(active) == (order.state is OrderState.ACTIVE)
            assert (order.id in state.open_orders) == (order.state is OrderState.OPEN)

    @invariant()
    def deposits_of_bids_come_back(self) -> None:
        state = self.scene.state
        for bid in state.bids.values():
            held = state.books.balance(b.bid_deposit(str(bid.id)))
            assert held == (bid.deposit if bid.state in (BidState.OPEN, BidState.ACTIVE) else 0)

    @rule()
    def crash(self) -> None:
        """Lose everything but the log: it leads to the same state, and so does a snapshot."""
        before = picture(self.scene.market)
        replayed = Market(OPERATOR)
        for entry in self.scene.entries:
            replayed.apply(m.encode(entry))
        assert picture(replayed) == before
        restored = Market.restored(self.scene.market.save(), OPERATOR)
        assert picture(restored) == before
        assert restored.state.sequence == replayed.state.sequence
        restored.replaying = False
        self.scene.go_on_with(restored)

    def teardown(self) -> None:
        self.crash()


Histories.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestHistories = Histories.TestCase
