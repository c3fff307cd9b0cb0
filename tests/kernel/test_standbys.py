"""Standbys in the catalogue: kept apart from apps, and made one of them by a single entry."""

from __future__ import annotations

from skerry.kernel import catalogue as events
from skerry.kernel.catalogue import Catalogue, Replication, ResourceRecord

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
    assert found.has_directory("d1") and not found.has_directory("d2")
    assert found.node_of("shop") == found.node_of_id("r1") == "rock"
    assert found.next_index == 8
    assert found.find("r1") is None


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
