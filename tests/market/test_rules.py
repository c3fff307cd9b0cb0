"""Akash's rules, case by case: who may do what when, what follows, and where the money goes."""

from __future__ import annotations

import pytest
from tests.market.scene import EUR, HASH, HOUR, OPERATOR, SECOND, TENANT, Scene, group, picture

from skerry.kernel.money import Rate
from skerry.market.core import books as b
from skerry.market.core import messages as m
from skerry.market.core.escrow import State as EscrowState
from skerry.market.core.market import Market
from skerry.market.core.names import OrderId
from skerry.market.core.states import (
    BidState,
    DeploymentState,
    GroupState,
    LeaseState,
    OrderState,
    Reason,
)
from skerry.market.core.terms import Terms
from skerry.market.sdl.model import Attribute


@pytest.fixture
def scene() -> Scene:
    return Scene(providers=3)


def first(scene: Scene) -> OrderId:
    return OrderId(*scene.deploy(), 1, 1)


def test_a_tenant_takes_any_open_bid_and_the_others_are_lost(scene: Scene) -> None:
    order = first(scene)
    cheap = scene.bid(order, "p0", 100)
    dear = scene.bid(order, "p1", 150)
    assert scene.held(b.bid_deposit(str(cheap))) == 500_000
    scene.send(TENANT, m.CreateLease(dear))
    state = scene.state
    assert state.bids[cheap].state is BidState.LOST
    assert state.bids[dear].state is BidState.ACTIVE
    assert state.leases[dear].price == Rate(150, SECOND)
    assert scene.held(b.bid_deposit(str(cheap))) == 0
    assert scene.held(b.wallet("p0")) == 100 * EUR


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"deposit": 499_999}, "at least"),
        ({"price": Rate(0, 1)}, "above 0"),
        ({"price": Rate(1_000_000, SECOND)}, "limit"),
        ({"provider": "p9"}, "not a provider"),
    ],
)
def test_a_bid_is_checked(scene: Scene, change: dict[str, object], what: str) -> None:
    good = scene.offer(first(scene), "p0", 100)
    fields = {name: getattr(good, name) for name in good.__struct_fields__} | change
    error = scene.refused(str(fields["provider"]), m.CreateBid(**fields))
    assert what in error.what


def test_a_bid_must_fit_the_placement() -> None:
    scene = Scene(providers=0)
    scene.add_provider("finn", attributes={"region": "north"})
    scene.add_provider("hans", country="DE", attributes={"region": "north"})
    wanted = group(attributes=(Attribute("region", "north"),), signed_by_any=("auditor",))
    order = OrderId(*scene.deploy(wanted, terms=Terms(countries=("FI",))), 1, 1)
    assert "country" in scene.refused("hans", scene.offer(order, "hans", 100)).why
    assert "auditor" in scene.refused("finn", scene.offer(order, "finn", 100)).why
    scene.send("auditor", m.SignAttributes("auditor", "finn", {"region": "south"}))
    assert "auditor" in scene.refused("finn", scene.offer(order, "finn", 100)).why
    scene.send("auditor", m.SignAttributes("auditor", "finn", {"region": "north"}))
    scene.bid(order, "finn", 100)


def test_only_the_signer_that_it_concerns_may_act(scene: Scene) -> None:
    order = first(scene)
    bid = scene.bid(order, "p0", 100)
    assert scene.refused("p1", m.CreateLease(bid)).code == "DENIED"
    assert scene.refused("p1", scene.offer(order, "p2", 90)).code == "DENIED"
    assert scene.refused(TENANT, m.Fund(TENANT, EUR)).code == "DENIED"
    assert scene.refused("p0", m.Clear(order)).code == "DENIED"
    scene.send(TENANT, m.CreateLease(bid))
    assert scene.refused("p1", m.CloseLease(bid)).code == "DENIED"
    assert scene.refused(TENANT, m.Withdraw(bid)).code == "DENIED"


def test_a_stranger_does_not_become_a_provider(scene: Scene) -> None:
    message = m.RegisterProvider("x", "x", "http://x", "FI", (), m.Capacity(1, 1, 1))
    assert scene.refused("x", message).code == "DENIED"


def test_a_tenants_close_orders_again_and_a_providers_close_pauses(scene: Scene) -> None:
    deployment = scene.deploy()
    lease = scene.lease(deployment)
    scene.send(TENANT, m.CloseLease(lease), later=10 * SECOND)
    state = scene.state
    assert state.leases[lease].state is LeaseState.CLOSED
    assert state.orders[OrderId(*deployment, 1, 2)].state is OrderState.OPEN
    assert scene.held(b.wallet("p0")) == 100 * EUR + 1000
    second = scene.lease(deployment, "p1")
    scene.send("p1", m.CloseBid(second, Reason.DECOMMISSION))
    assert state.groups[second.group].state is GroupState.PAUSED
    assert state.groups[second.group].orders == 2
    assert "paused" in scene.refused(TENANT, m.PauseGroup(second.group)).what
    scene.send(TENANT, m.StartGroup(second.group))
    assert state.orders[OrderId(*deployment, 1, 3)].state is OrderState.OPEN


def test_escrow_drains_by_the_second_and_ends_everything_when_dry(scene: Scene) -> None:
    deployment = scene.deploy(group(), group().__class__("other", group().resources), deposit=EUR)
    state = scene.state
    one = scene.lease(deployment, "p0", per_second=100, gseq=1)
    two = scene.lease(deployment, "p1", per_second=60, gseq=2)
    assert state.dry_at(deployment) == scene.now + EUR * 1000 // 160
    scene.send(OPERATOR, m.Settle((deployment,)), later=5000 * SECOND)
    assert state.leases[one].state is LeaseState.ACTIVE
    assert scene.held(b.earned(str(one))) == 500_000
    scene.send(OPERATOR, m.Settle((deployment,)), later=2000 * SECOND)
    account = state.accounts[deployment]
    assert account.state is EscrowState.OVERDRAWN
    assert account.funds == -120_000, "the exact debt"
    assert account.payments[str(two)].unsettled == 120_000, "the later one waits"
    for name in (one, two):
        assert state.leases[name].state is LeaseState.INSUFFICIENT_FUNDS
        assert state.leases[name].reason is Reason.INSUFFICIENT_FUNDS
        assert state.groups[name.group].state is GroupState.INSUFFICIENT_FUNDS
    assert state.deployments[deployment].state is DeploymentState.CLOSED
    assert scene.held(b.wallet("p0")) == 100 * EUR + 700_000
    assert scene.held(b.wallet("p1")) == 100 * EUR + 300_000
    assert state.books.balanced()
    scene.send("p2", m.Deposit(deployment, "p2", 200_000))
    assert str(account.state) == "closed"
    assert scene.held(b.wallet("p1")) == 100 * EUR + 420_000
    assert scene.held(b.wallet("p2")) == 100 * EUR - 120_000, "the rest goes back to its giver"


def test_a_grant_goes_back_to_whoever_gave_it(scene: Scene) -> None:
    deployment = scene.deploy(deposit=EUR)
    scene.send("p2", m.Deposit(deployment, "p2", 2 * EUR))
    scene.lease(deployment, "p0", per_second=100)
    scene.send(TENANT, m.CloseDeployment(deployment), later=15_000 * SECOND)
    assert scene.held(b.wallet(TENANT)) == 999 * EUR, "the oldest deposit is drained first"
    assert scene.held(b.wallet("p2")) == 99_500_000
    assert scene.held(b.wallet("p0")) == 101_500_000


def test_a_fraction_of_a_unit_is_nobodys(scene: Scene) -> None:
    deployment = scene.deploy()
    order = OrderId(*deployment, 1, 1)
    scene.send("p0", m.CreateBid(order, "p0", Rate(10, 7000), 500_000))
    lease = scene.market.state.orders[order].bids[0]
    scene.send(TENANT, m.CreateLease(lease))
    for _ in range(100):
        scene.send(OPERATOR, m.Settle((deployment,)), later=333)
    assert scene.held(b.earned(str(lease))) == 33_300 * 10 // 7000, "settling often loses nothing"
    scene.send(TENANT, m.CloseDeployment(deployment))
    assert scene.held(b.DUST) == 1
    assert scene.held(b.wallet("p0")) == 100 * EUR + 47
    assert scene.held(b.wallet(TENANT)) == 1000 * EUR - 48


def test_pro_rata_gives_each_the_same_part(scene: Scene) -> None:
    other = type(group())("other", group().resources)
    deployment = scene.deploy(group(), other, deposit=100_001, pro_rata=True)
    one = scene.lease(deployment, "p0", per_second=100, gseq=1)
    two = scene.lease(deployment, "p1", per_second=50, gseq=2)
    scene.send(OPERATOR, m.Settle((deployment,)), later=HOUR)
    assert scene.held(b.wallet("p0")) - 100 * EUR == 66_667
    assert scene.held(b.wallet("p1")) - 100 * EUR == 33_333
    assert scene.held(b.DUST) == 1
    payments = scene.state.accounts[deployment].payments
    assert payments[str(one)].unsettled == 360_000 - 66_667
    assert payments[str(two)].unsettled == 180_000 - 33_333


def test_notice_before_a_provider_leaves(scene: Scene) -> None:
    deployment = scene.deploy(terms=Terms(reclamation_seconds=7200), deposit=5 * EUR)
    order = OrderId(*deployment, 1, 1)
    assert "notice" in scene.refused("p0", scene.offer(order, "p0", 100)).what
    bid = scene.bid(order, "p0", 100, reclamation_seconds=7200)
    scene.send(TENANT, m.CreateLease(bid))
    leave = m.CloseBid(bid, Reason.DECOMMISSION)
    assert "promises" in scene.refused("p0", leave).what
    scene.send("p0", m.StartReclaim(bid))
    assert scene.state.leases[bid].state is LeaseState.RECLAIMING
    assert "announced" in scene.refused("p0", m.StartReclaim(bid)).what
    assert "lasts" in scene.refused("p0", leave, later=HOUR).what
    scene.send("p0", leave, later=HOUR)
    assert scene.state.leases[bid].state is LeaseState.CLOSED
    assert scene.held(b.wallet("p0")) == 100 * EUR + 720_000, "it was paid to the end"
    assert scene.state.providers["p0"].record.good == 1_000_000


def test_a_tenant_leaves_a_notice_and_dry_money_ends_it(scene: Scene) -> None:
    terms = Terms(reclamation_seconds=7200)
    for deposit, message in ((5 * EUR, None), (EUR, "settle")):
        deployment = scene.deploy(terms=terms, deposit=deposit)
        order = OrderId(*deployment, 1, 1)
        bid = scene.bid(order, "p1", 160, reclamation_seconds=7200)
        scene.send(TENANT, m.CreateLease(bid))
        scene.send("p1", m.StartReclaim(bid))
        if message is None:
            scene.send(TENANT, m.CloseLease(bid))
            assert scene.state.leases[bid].reason is Reason.OWNER
        else:
            scene.send(OPERATOR, m.Settle((deployment,)), later=2 * HOUR)
            assert scene.state.leases[bid].state is LeaseState.INSUFFICIENT_FUNDS


def test_no_lease_without_escrow(scene: Scene) -> None:
    message = m.CreateDeployment(TENANT, (group(),), (Terms(),), HASH, 2000 * EUR)
    assert "wallet" in scene.refused(TENANT, message).why
    deployment = scene.deploy(deposit=100_000)
    scene.lease(deployment, "p0", per_second=160)
    again = scene.deploy(type(group())("a", group().resources), group(), deposit=100_000)
    scene.lease(again, "p0", per_second=160, gseq=1)
    bid = scene.bid(OrderId(*again, 2, 1), "p1", 160)
    error = scene.refused(TENANT, m.CreateLease(bid), later=HOUR)
    assert "empty" in error.what


def test_bonds_stay_while_they_answer_for_something(scene: Scene) -> None:
    scene.send("p0", m.PostBond("p0", 10 * EUR))
    order = OrderId(*scene.deploy(terms=Terms(bond=5 * EUR)), 1, 1)
    assert "staked" in scene.refused("p1", scene.offer(order, "p1", 100)).why
    bid = scene.bid(order, "p0", 100)
    scene.send(TENANT, m.CreateLease(bid))
    assert "stays" in scene.refused("p0", m.ReturnBond("p0", EUR)).what
    scene.send(OPERATOR, m.Slash("p0", 15 * EUR, "results differ from two others"))
    assert scene.held(b.SLASHED) == 10 * EUR
    assert scene.state.slashes[0][:3] == ("p0", 10 * EUR, "results differ from two others")


def test_replicated_work_is_judged_by_its_majority() -> None:
    scene = Scene(providers=3)
    for name, digest in (("p0", "good"), ("p1", "bad"), ("p2", "good")):
        lease = scene.lease(scene.deploy(unit="u1"), name)
        scene.send(name, m.Report(lease, 0, digest))
        assert scene.refused(name, m.Report(lease, 0, "other")).code == "ALREADY_EXISTS"
    records = {name: each.record for name, each in scene.state.providers.items()}
    assert (records["p0"].row, records["p1"].row, records["p2"].row) == (1, 0, 1)
    assert records["p1"].score(scene.now) < records["p0"].score(scene.now) // 5


def test_a_crash_after_any_entry_replays_to_the_same_state() -> None:
    scene = Scene(providers=2)
    pictures = [scene.picture()]
    start = len(scene.entries)
    deployment = scene.deploy(deposit=EUR)
    pictures.append(scene.picture())
    order = OrderId(*deployment, 1, 1)
    steps: list[tuple[str, m.AnyMessage]] = [
        ("p0", scene.offer(order, "p0", 100)),
        ("p1", scene.offer(order, "p1", 160)),
        (OPERATOR, m.Clear(order)),
        (OPERATOR, m.Settle((deployment,))),
        (TENANT, m.CloseDeployment(deployment)),
    ]
    for signer, message in steps:
        scene.send(signer, message, later=100 * SECOND)
        pictures.append(scene.picture())
    for stop, wanted in enumerate(pictures):
        replayed = Market(OPERATOR)
        for entry in scene.entries[: start + stop]:
            replayed.apply(m.encode(entry))
        assert picture(replayed) == wanted


def test_what_was_refused_is_refused_in_every_replay(scene: Scene) -> None:
    order = first(scene)
    scene.refused("p0", m.CreateBid(order, "p0", Rate(10**9, 1), 500_000))
    replayed = Market(OPERATOR)
    for entry in scene.entries:
        replayed.apply(m.encode(entry))
    assert picture(replayed) == scene.picture()
