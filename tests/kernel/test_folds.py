"""The folds over the log: catalogue and ledger, whatever order events come in."""

from __future__ import annotations

from collections import defaultdict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.kernel import events, ledger
from skerry.kernel.app import AppSpec, ResourceSpec
from skerry.kernel.catalogue import Catalogue, ResourceRecord
from skerry.kernel.errors import CORRUPT, NOT_FOUND, SkerryError
from skerry.kernel.events import Event
from skerry.kernel.ledger import Ledger, Posted, Reading, SourcesClosed
from skerry.kernel.log import GENESIS, Entry, check_chain

APPS = st.sampled_from(["news", "shop"])
BRANCHES = st.sampled_from(["main", "one", "two"])
VERSIONS = st.integers(1, 4)
DIRECTORIES = st.sampled_from(["d1", "d2", "d3"])
TIMES = st.integers(0, 2**60)
NAMES = st.sampled_from(["a", "b", "c"])
IDS = st.integers(0, 2**64 - 1).map(lambda number: f"{number:016x}")
RECORDS = st.lists(
    st.builds(
        ResourceRecord,
        id=IDS,
        lineage=IDS,
        kind=st.just("hello"),
        name=NAMES,
    ),
    max_size=3,
    unique_by=lambda record: record.name,
).map(tuple)
SPECS = st.builds(
    AppSpec,
    name=APPS,
    resources=st.just((ResourceSpec("hello", "a", {}),)),
    entry=st.none(),
)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(events.AppCreated, app=APPS, index=st.integers(0, 9)),
    st.builds(events.AppDeleted, app=APPS),
    st.builds(
        events.VersionAdded, app=APPS, version=VERSIONS, spec=SPECS, digest=st.text(max_size=4)
    ),
    st.builds(
        events.BranchCreated,
        app=APPS,
        branch=BRANCHES,
        directory=DIRECTORIES,
        parent=st.none() | BRANCHES,
        version=VERSIONS,
        resources=RECORDS,
        time=TIMES,
    ),
    st.builds(
        events.BranchReplaced,
        app=APPS,
        branch=BRANCHES,
        directory=DIRECTORIES,
        source=BRANCHES,
        version=VERSIONS,
    ),
    st.builds(events.ResourcesAdded, app=APPS, branch=BRANCHES, resources=RECORDS),
    st.builds(events.BranchDeployed, app=APPS, branch=BRANCHES, version=VERSIONS, time=TIMES),
    st.builds(events.BranchDeleted, app=APPS, branch=BRANCHES),
    st.builds(events.SecretSet, app=APPS, name=st.just("KEY"), sealed=st.binary(max_size=8)),
    st.builds(events.SecretDeleted, app=APPS, name=st.just("KEY")),
    st.builds(
        events.ResourceLeaving, app=APPS, resource=NAMES, to=st.just("rock"), transfer=st.just("t")
    ),
    st.builds(events.ResourceStays, app=APPS, resource=NAMES),
    st.builds(events.ResourceMoved, app=APPS, resource=NAMES, to=st.just("rock")),
    st.builds(events.ResourceReturned, app=APPS, resource=NAMES, transfer=st.just("t")),
    st.builds(events.KeysLetGo, app=APPS, to=st.just("rock")),
)


def folded(bodies: list[bytes]) -> Catalogue:
    catalogue = Catalogue()
    for body in bodies:
        catalogue.apply(body)
    return catalogue


def written(catalogue: Catalogue) -> bytes:
    """Return all that a catalogue holds."""
    apps = [msgspec.structs.astuple(each) for each in catalogue.apps.values()]
    return msgspec.json.encode((apps, list(catalogue.branches())), enc_hook=dict)


@given(st.lists(EVENTS, max_size=40))
def test_any_events_replay_to_the_same_state(history: list[Event]) -> None:
    """No event breaks the fold, not even one that lost a race with a deletion."""
    bodies = [events.encode(event) for event in history]
    one, other = folded(bodies), folded(bodies)
    assert written(one) == written(other)
    assert one.next_index == other.next_index
    for branch in one.branches():
        for name, record in branch.resources.items():
            assert name == record.name
            assert one.find(record.id) is not None
    living = {record.id for branch in one.branches() for record in branch.resources.values()}
    gone = {record.id for event in history for record in getattr(event, "resources", ())} - living
    assert not [each for each in gone if one.find(each) is not None]


@given(st.lists(EVENTS, max_size=40))
def test_an_app_never_gets_the_number_of_another(history: list[Event]) -> None:
    catalogue = Catalogue()
    given_out: set[int] = set()
    for event in history:
        if isinstance(event, events.AppCreated):
            if event.app in catalogue.apps:
                continue
            event = events.AppCreated(event.app, catalogue.next_index)  # noqa: PLW2901
            assert event.index not in given_out
            given_out.add(event.index)
        catalogue.apply(events.encode(event))


def test_whoever_holds_an_app_that_goes_still_knows_its_branches() -> None:
    record = ResourceRecord("0" * 16, "0" * 16, "hello", "guests")
    made = [
        events.AppCreated("news", 0),
        events.BranchCreated("news", "main", "d", None, 1, (record,), 0),
    ]
    catalogue = folded([events.encode(event) for event in made])
    app = catalogue.app("news")
    catalogue.apply(events.encode(events.AppDeleted("news")))
    assert [each.directory for each in app.branches.values()] == ["d"]
    assert catalogue.find(record.id) is None and not catalogue.has_directory("d")


def test_what_is_unknown_is_told_with_the_nearest_name() -> None:
    catalogue = Catalogue()
    record = ResourceRecord("0" * 16, "0" * 16, "hello", "guests")
    spec = AppSpec("news", (), None)
    for event in (
        events.AppCreated("news", 0),
        events.VersionAdded("news", 1, spec, ""),
        events.BranchCreated("news", "main", "d", None, 1, (record,), 0),
    ):
        catalogue.apply(events.encode(event))
    assert catalogue.record("news", "main", "guests") == record
    assert catalogue.find("0" * 16) == ("news", "main", "guests")
    assert catalogue.spec(catalogue.branch("news", "main")) == spec
    for place, guess in {
        ("nws", "main", "guests"): "news",
        ("news", "mian", "guests"): "main",
        ("news", "main", "guest"): "guests",
    }.items():
        with pytest.raises(SkerryError) as told:
            catalogue.record(*place)
        assert told.value.problem is NOT_FOUND
        assert told.value.why == f"Did you mean {guess}?"


READINGS = st.builds(
    Reading,
    source=st.sampled_from(["s1", "s2", "s3"]),
    account=st.sampled_from(["a", "a/main", "a/main/db", "ab"]),
    unit=st.sampled_from(["rows", "cpu_ms"]),
    total=st.integers(0, 10**12),
)
POSTINGS = st.one_of(
    st.builds(Posted, readings=st.lists(READINGS, max_size=5).map(tuple), time=TIMES),
    st.builds(SourcesClosed, st.lists(st.sampled_from(["s1", "s2"]), max_size=2).map(tuple)),
)


@given(st.lists(POSTINGS, max_size=30))
def test_debits_equal_credits_and_growth_is_posted_once(
    history: list[Posted | SourcesClosed],
) -> None:
    books = Ledger()
    expected: defaultdict[tuple[str, str], int] = defaultdict(int)
    reached: dict[tuple[str, str, str], int] = {}
    for event in history:
        books.apply(ledger.encode(event))
        if isinstance(event, SourcesClosed):
            reached = {key: at for key, at in reached.items() if key[0] not in event.sources}
            continue
        books.apply(ledger.encode(event))
        for reading in event.readings:
            key = (reading.source, reading.account, reading.unit)
            growth = max(reading.total - reached.get(key, 0), 0)
            expected[reading.account, reading.unit] += growth
            reached[key] = max(reading.total, reached.get(key, 0))
        assert books.balanced()
        assert books.news(iter(event.readings)) == ()
    used = {(account, unit): n for account, unit, n in books.used("a")}
    assert used == {key: n for key, n in expected.items() if n and key[0] != "ab"}
    supplied = sum(balance.credits for _, _, balance in books.balances.below())
    assert supplied == sum(expected.values())


def chain(count: int) -> list[Entry]:
    entries: list[Entry] = []
    for number in range(count):
        previous = entries[-1].digest() if entries else GENESIS
        entries.append(Entry(number, 0, b"%d" % number, previous))
    return entries


def test_a_chain_that_was_cut_moved_or_edited_is_found() -> None:
    entries = chain(5)
    assert list(check_chain(iter(entries), GENESIS, 0)) == entries
    edited = msgspec.structs.replace(entries[2], body=b"other")
    for broken in (
        entries[1:],
        [*entries[:2], *entries[3:]],
        [entries[0], entries[2], entries[1]],
        [*entries[:2], edited, *entries[3:]],
    ):
        with pytest.raises(SkerryError) as found:
            list(check_chain(iter(broken), GENESIS, 0))
        assert found.value.problem is CORRUPT


@given(st.lists(EVENTS, max_size=30).map(lambda found: [events.encode(each) for each in found]))
def test_a_resource_is_here_or_away(bodies: list[bytes]) -> None:
    catalogue = folded(bodies)
    for branch in catalogue.branches():
        assert not set(branch.resources) & set(branch.away)
        for away in branch.away.values():
            assert catalogue.away[f"{branch.app}/{away.record.name}"] == away.node == "rock"
            assert catalogue.node_of_id(away.record.id) in (None, "rock")
            with pytest.raises(SkerryError, match="on the node rock now"):
                catalogue.record(branch.app, branch.name, away.record.name)
    for place in catalogue.away:
        assert place.partition("/")[0] in catalogue.apps


def test_keys_of_a_guest_that_has_gone_are_not_those_of_another_app() -> None:
    made = events.BranchCreated("shop", "main", "d1", None, 1, (), 5)
    guest = events.GuestArrived("shop", 0, "t", (), (made,), {}, {}, "id", "rock", "a")
    bodies = [events.encode(guest), events.encode(events.AppMoved("shop", "rock"))]
    assert folded(bodies[:1]).app("shop").guest == guest
    assert folded(bodies).guests_gone == {"shop"}
    for event in (guest, events.AppCreated("shop", 1)):
        assert folded([*bodies, events.encode(event)]).guests_gone == set()


def test_what_comes_back_is_what_went() -> None:
    record = ResourceRecord("1" * 16, "1" * 16, "hello", "a")
    made = events.BranchCreated("shop", "main", "d1", None, 1, (record,), 5)
    catalogue = folded([events.encode(events.AppCreated("shop", 0)), events.encode(made)])
    before = catalogue.branch("shop", "main")
    for event in (
        events.ResourceLeaving("shop", "a", "rock", "t1"),
        events.ResourceMoved("shop", "a", "rock"),
    ):
        catalogue.apply(events.encode(event))
    assert catalogue.find(record.id) is None
    assert catalogue.node_of_id(record.id) == "rock"
    assert catalogue.node_of_resource("shop", "main", None, "hello") == "rock"
    again = events.ResourcesAdded(
        "shop", "main", (ResourceRecord("2" * 16, "2" * 16, "hello", "a"),)
    )
    catalogue.apply(events.encode(again))
    assert catalogue.branch("shop", "main").record("a") == record
    catalogue.apply(events.encode(events.ResourceReturned("shop", "a", "t2")))
    assert catalogue.branch("shop", "main") == before
    assert catalogue.find(record.id) == ("shop", "main", "a")
    app = catalogue.app("shop")
    assert app.keepers == {"rock"}, "it has not said that it let go of the keys"
    catalogue.apply(events.encode(events.KeysLetGo("shop", "rock")))
    assert app.keepers == set() and catalogue.away == {}
