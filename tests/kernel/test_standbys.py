"""Standbys in the catalogue: kept apart from apps, and made one of them by a single entry."""

from __future__ import annotations

import msgspec
import pytest

from skerry.kernel import events
from skerry.kernel.catalogue import Catalogue, ResourceRecord
from skerry.kernel.errors import SkerryError
from skerry.kernel.events import Replication

RECORD = ResourceRecord("r1", "r1", "kv", "visits")
BRANCH = events.BranchCreated("shop", "main", "d1", None, 1, (RECORD,), 5)
ARRIVED = events.AppArrived("shop", 7, "t", (), (BRANCH,), {}, {"resource/r1": b"k"})
REPLICATION = Replication(("a", "b"), "node", 3)


def folded(*told: events.Event) -> Catalogue:
    made = Catalogue()
    for each in told:
        made.apply(events.encode(each))
    return made


def test_a_standby_is_no_app_and_its_clients_go_to_who_serves() -> None:
    found = folded(events.AppFollowed("shop", "rock", REPLICATION, ARRIVED))
    assert found.apps == {}
    assert set(found.directories()) == {"d1", "d1-ro"}
    assert found.has_directory("d1") and found.has_directory("d1-ro")
    assert not found.has_directory("d2")
    assert found.node_of("shop") == found.node_of_id("r1") == "rock"
    assert found.next_index == 8
    assert found.find("r1") is None


def test_a_copy_is_read_by_a_name_and_ids_of_its_own_until_it_is_taken() -> None:
    followed = events.AppFollowed("shop", "rock", REPLICATION, ARRIVED)
    found = folded(followed)
    branch = found.branch("shop-ro", "main")
    (record,) = branch.resources.values()
    assert (branch.leader, branch.origin, branch.directory) == ("rock", "shop", "d1-ro")
    assert record.id != RECORD.id and found.origins == {record.id: "r1"}
    assert found.find(record.id) == ("shop-ro", "main", "visits")
    assert list(found.branches()) == []
    with pytest.raises(SkerryError, match="no app shop-ro"):
        found.app("shop-ro")
    own = folded(followed, events.AppCreated("shop-ro", 1))
    assert own.known("shop-ro") is own.apps["shop-ro"], "an app of that name comes first"
    for end in (events.AppTaken("shop", REPLICATION), events.AppUnfollowed("shop")):
        ended = folded(followed, end)
        assert not ended.readers and not ended.origins and ended.find(record.id) is None
    assert folded(msgspec.structs.replace(followed, app="x" * 40)).readers == {}


def test_taking_over_makes_it_an_app_with_its_epoch() -> None:
    taken = Replication(("a", "b"), "node", 4)
    found = folded(
        events.AppFollowed("shop", "rock", REPLICATION, ARRIVED),
        events.AppTaken("shop", taken),
    )
    assert found.standbys == {}
    assert found.app("shop").replication == taken
    assert found.app("shop").index == 7
    assert found.find("r1") == ("shop", "main", "visits")
    assert found.node_of("shop") is None
    assert found.keys == {"resource/r1": b"k"}


def test_an_old_leader_gives_way_and_follows() -> None:
    found = folded(
        ARRIVED,
        events.AppReplicated("shop", REPLICATION),
        events.AppMoved("shop", "holm"),
        events.AppFollowed("shop", "holm", REPLICATION, ARRIVED),
        events.AppUnfollowed("shop"),
    )
    assert not found.apps and not found.standbys
    assert found.node_of("shop") == "holm"


def test_others_hear_where_an_app_is_but_never_lose_their_own() -> None:
    heard = events.AppElsewhere("shop", "holm", ("r1",))
    assert folded(heard).node_of_id("r1") == "holm"
    own = folded(ARRIVED, heard)
    assert own.node_of("shop") is None and "shop" in own.apps
    ended = folded(
        ARRIVED, events.AppReplicated("shop", REPLICATION), events.AppTaken("x", REPLICATION)
    )
    assert ended.app("shop").replication == REPLICATION
