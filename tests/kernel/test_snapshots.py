"""A fold that was saved and made again is the one that it was, and goes on alike."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kernel.test_folds import APPS, EVENTS, IDS, POSTINGS, RECORDS, SPECS, VERSIONS

from skerry.kernel import events, ledger, snapshots
from skerry.kernel.branch import MemoryShelf
from skerry.kernel.catalogue import Catalogue
from skerry.kernel.events import Event
from skerry.kernel.ledger import Ledger, Posted, SourcesClosed
from skerry.kernel.ledger.metering import MemoryBalances

KEYS = st.dictionaries(st.sampled_from(["resource/1", "lineage/1"]), st.binary(max_size=4))
NODES = st.sampled_from(["fi-1", "se-1"])
REPLICATIONS = st.builds(
    events.Replication, members=st.just(("fi-1", "se-1")), epoch=st.integers(0, 9)
)
ARRIVED = st.builds(
    events.AppArrived,
    app=APPS,
    index=st.integers(0, 9),
    transfer=st.just("move"),
    versions=st.lists(
        st.builds(events.VersionAdded, app=APPS, version=VERSIONS, spec=SPECS, digest=st.just("d")),
        max_size=2,
    ).map(tuple),
    branches=st.lists(
        st.builds(
            events.BranchCreated,
            app=APPS,
            branch=st.sampled_from(["main", "one"]),
            directory=IDS,
            parent=st.none(),
            version=VERSIONS,
            resources=RECORDS,
            time=st.integers(0, 9),
        ),
        max_size=2,
    ).map(tuple),
    secrets=st.just({}),
    keys=KEYS,
)
GUESTS = ARRIVED.map(
    lambda each: events.GuestArrived(
        **msgspec.structs.asdict(each), home="h", home_name="fi-1", resource="a"
    )
)
MOVING: st.SearchStrategy[Event] = st.one_of(
    ARRIVED,
    GUESTS,
    st.builds(events.VersionDropped, app=APPS, version=VERSIONS),
    st.builds(events.AppLeaving, app=APPS, to=NODES, transfer=st.just("move")),
    st.builds(events.AppStays, app=APPS),
    st.builds(events.AppMoved, app=APPS, to=NODES),
    st.builds(events.AppReplicated, app=APPS, replication=st.none() | REPLICATIONS),
    st.builds(
        events.AppFollowed, app=APPS, holder=NODES, replication=REPLICATIONS, arrived=ARRIVED
    ),
    st.builds(events.AppTaken, app=APPS, replication=REPLICATIONS),
    st.builds(events.AppUnfollowed, app=APPS),
    st.builds(events.AppElsewhere, app=APPS, to=NODES, ids=st.lists(IDS, max_size=2).map(tuple)),
)


def seen(catalogue: Catalogue) -> dict[str, Any]:
    """Return all that a catalogue tells, in its order."""
    shelf = catalogue.shelf
    known = {
        name: value
        for name, value in vars(catalogue).items()
        if not name.startswith("_") and name not in ("apps", "readers")
    }
    ids = [record.id for each in catalogue.branches() for record in each.resources.values()]
    return {
        **known,
        "apps": [(each, dict(each.branches)) for each in bare(catalogue.apps.values())],
        "readers": {name: dict(each.branches) for name, each in catalogue.readers.items()},
        "places": [catalogue.find(each) for each in ids],
        "elsewhere": sorted(shelf.elsewhere()),
        "directories": sorted(catalogue.directories()),
    }


def bare(apps: Any) -> list[Any]:
    return [msgspec.structs.replace(each, branches=dict(each.branches)) for each in apps]


@settings(max_examples=30)
@given(st.lists(EVENTS | MOVING, max_size=25), st.data())
def test_a_catalogue_goes_on_from_its_parts(history: list[Event], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(history)))
    straight, first = Catalogue(), Catalogue()
    for event in history[:at]:
        straight.apply(events.encode(event))
        first.apply(events.encode(event))
    again = snapshots.restore_catalogue(snapshots.save_catalogue(first), MemoryShelf())
    assert seen(again) == seen(straight)
    for event in history[at:]:
        straight.apply(events.encode(event))
        again.apply(events.encode(event))
    assert seen(again) == seen(straight)


def test_all_that_a_catalogue_knows_is_saved_or_follows() -> None:
    """Whoever gives it a new attribute says here where a snapshot has it."""
    own = {name for name in vars(Catalogue()) if not name.startswith("_")}
    assert own == {*snapshots.Known.__struct_fields__, *snapshots.DERIVED} - {"shelf"}


@settings(max_examples=30)
@given(st.lists(POSTINGS, max_size=25), st.data())
def test_a_ledger_goes_on_from_its_parts(
    history: list[Posted | SourcesClosed], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(history)))
    straight, again = Ledger(), Ledger()
    for event in history[:at]:
        straight.apply(ledger.encode(event))
        again.apply(ledger.encode(event))
    again = snapshots.restore_ledger(snapshots.save_ledger(again), MemoryBalances())
    for event in history[at:]:
        straight.apply(ledger.encode(event))
        again.apply(ledger.encode(event))
    assert again.counters == straight.counters
    assert list(again.balances.below()) == list(straight.balances.below())
    assert again.balanced()


@pytest.mark.parametrize("parts", [[], [b"\xc1"], [b"\x80"], [msgspec.msgpack.encode({"x": 1})]])
def test_what_is_no_catalogue_is_told(parts: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r"."):
        snapshots.restore_catalogue(iter(parts), MemoryShelf())


def test_more_than_one_page_is_saved() -> None:
    catalogue = Catalogue()
    catalogue.apply(events.encode(events.AppCreated("news", 0)))
    for number in range(2 * snapshots.PAGE_ROWS + 1):
        made = events.BranchCreated("news", f"b{number}", f"d{number}", None, 1, (), number)
        catalogue.apply(events.encode(made))
    again = snapshots.restore_catalogue(snapshots.save_catalogue(catalogue), MemoryShelf())
    assert list(again.apps["news"].branches) == list(catalogue.apps["news"].branches)
