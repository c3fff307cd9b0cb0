"""What nodes tell each other of their catalogues: only signed words in order count."""

from __future__ import annotations

from pathlib import Path

import msgspec

from skerry.federation.bus.catalogues import NO_APP, Hearing, Told, ToldBranch, told_of
from skerry.federation.identity import Identity
from skerry.kernel.catalogue import App, Branch, ResourceRecord
from skerry.kernel.clock import SystemClock
from skerry.kernel.log import GENESIS, Entry


class Played:
    """A bus that holds these messages."""

    def __init__(self, messages: list[bytes]) -> None:
        self.messages = messages

    async def next(self, stream: str, subject: str, number: int) -> tuple[int, bytes] | None:
        if number > len(self.messages):
            return None
        return number, self.messages[number - 1]


def word(identity: Identity, told: Told) -> bytes:
    return msgspec.json.encode(
        msgspec.structs.replace(told, signature=identity.sign(told.signed()))
    )


def chain(*bodies: bytes) -> list[bytes]:
    previous, found = GENESIS, []
    for number, body in enumerate(bodies):
        entry = Entry(number, 0, body, previous)
        found.append(entry.encode())
        previous = entry.digest()
    return found


async def test_only_a_nodes_own_words_in_order_count(tmp_path: Path) -> None:
    one, other = (
        Identity.load(tmp_path / f"{name}.pem", name, SystemClock()) for name in ("one", "other")
    )

    def says(app: str, by: Identity = one) -> bytes:
        return word(by, Told(one.id, app, "d", (ToldBranch("main", 1, ("kv/sessions",)),)))

    begun = word(one, Told(one.id, NO_APP))
    bus = Played(chain(begun, says("shop")))
    keys = {one.id: one.public_key}
    hearing = Hearing(lambda: bus, keys.get, other.id)  # type: ignore[arg-type,return-value]

    async def heard() -> list[str]:
        await hearing.hear()
        return sorted(each.app for each in hearing.of(one.id))

    assert await heard() == ["shop"]
    assert list(hearing.of(one.id)[0].resources()) == ["kv/sessions"]
    whole = chain(begun, says("shop"), says("desk"), says("last"))
    bus.messages += [b"garbage", whole[3]]
    assert await heard() == ["shop"], "an entry was left out before it"
    bus.messages.append(chain(begun, says("shop"), says("desk", other))[2])
    assert await heard() == ["shop"], "another node signed it"
    bus.messages.append(chain(says("forged", other))[0])
    assert await heard() == ["shop"], "another node cannot make it begin anew"
    bus.messages.append(whole[2])
    assert await heard() == ["desk", "shop"]
    bus.messages.append(chain(begun)[0])
    assert await heard() == []
    keys.clear()
    bus.messages.append(chain(says("late"))[0])
    assert await heard() == [], "it is bound no more"


def test_what_is_told_holds_no_secret() -> None:
    record = ResourceRecord("secret-id", "secret-lineage", "kv", "sessions")
    branch = Branch("shop", "main", "dir", None, 1, 0, 0, {"sessions": record})
    app = App("shop", 0, {"main": branch}, secrets={"COLOUR": b"sealed"})
    told = told_of("node", app)
    assert told.branches == (ToldBranch("main", 1, ("kv/sessions",)),)
    assert b"secret" not in msgspec.json.encode(told)
    assert b"COLOUR" not in msgspec.json.encode(told)
