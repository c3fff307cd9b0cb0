"""Data keys: every holder wraps and destroys, streams are whole or do not open, nothing is left."""

from __future__ import annotations

import io
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.keys.transit_server import Transit, serving

from skerry.kernel.clock import SystemClock, SystemEntropy
from skerry.kernel.errors import (
    CONFLICT,
    CORRUPT,
    DENIED,
    INVALID,
    KEY_DESTROYED,
    NOT_FOUND,
    STORE_UNREACHABLE,
    SkerryError,
)
from skerry.node.keys.age import AgeHolder
from skerry.node.keys.holders import FolderHolder, Holder, HolderSpec, check
from skerry.node.keys.ring import KeyRing
from skerry.node.keys.sealing import CHUNK_BYTES, Header, Reader, header_of, open_stream, seal
from skerry.node.keys.transit import TransitHolder

KEY = bytes(range(32))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[Transit, HolderSpec]]:
    with serving(tmp_path) as (transit, url, token):
        yield transit, HolderSpec("bao", "transit", url=url, token_file=str(token))


def make_ring(home: Path) -> KeyRing:
    (home / "s").mkdir(parents=True, exist_ok=True)
    return KeyRing(home / "s", home / "own", SystemClock(), SystemEntropy())


def holders(folder: Path, spec: HolderSpec) -> list[Holder]:
    for name in ("files", "ages"):
        (folder / name).mkdir()
    return [FolderHolder(folder / "files"), AgeHolder(folder / "ages"), TransitHolder(spec)]


def test_what_is_wrapped_opens_until_its_key_is_destroyed(
    tmp_path: Path, service: tuple[Transit, HolderSpec]
) -> None:
    for holder in holders(tmp_path, service[1]):
        holder.make("one")
        holder.make("two")
        wrapped = holder.wrap("one", KEY)
        holder.make("one")
        assert holder.unwrap("one", wrapped) == KEY, "making it again changes nothing"
        assert KEY not in wrapped
        with pytest.raises(SkerryError) as raised:
            holder.unwrap("two", wrapped)
        assert raised.value.problem is CORRUPT
        for _ in range(2):
            assert holder.destroy("one")
        with pytest.raises(SkerryError) as raised:
            holder.unwrap("one", wrapped)
        assert raised.value.problem is KEY_DESTROYED, holder
        holder.make("one")
        with pytest.raises(SkerryError) as raised:
            holder.unwrap("one", wrapped)
        assert raised.value.problem is CORRUPT, "another key of that name opens nothing"


def test_files_are_for_the_node_alone_and_age_itself_reads_them(tmp_path: Path) -> None:
    holder = AgeHolder(tmp_path)
    holder.make("one")
    file = tmp_path / "one.agekey"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    identity = pyrage.x25519.Identity.from_str(file.read_text().splitlines()[-1])
    assert pyrage.decrypt(holder.wrap("one", KEY), [identity]) == KEY
    program = next((p for p in ("/usr/bin/age",) if Path(p).exists()), None)
    if program:
        found = subprocess.run(
            [program, "-d", "-i", str(file)],
            check=True,
            input=holder.wrap("one", KEY),
            capture_output=True,
        )
        assert found.stdout == KEY


def test_a_service_that_is_away_or_refuses_says_so(
    tmp_path: Path, service: tuple[Transit, HolderSpec]
) -> None:
    transit, spec = service
    holder = TransitHolder(spec)
    holder.make("one")
    wrapped = holder.wrap("one", KEY)
    transit.away = True
    with pytest.raises(SkerryError) as raised:
        holder.unwrap("one", wrapped)
    assert raised.value.problem is STORE_UNREACHABLE
    transit.away = False
    Path(spec.token_file).write_text("wrong")
    with pytest.raises(SkerryError) as raised:
        holder.unwrap("one", wrapped)
    assert raised.value.problem is DENIED and "wrong" not in str(raised.value.as_dict())
    Path(spec.token_file).unlink()
    with pytest.raises(SkerryError) as raised:
        holder.make("two")
    assert raised.value.problem is STORE_UNREACHABLE


@pytest.mark.parametrize(
    "spec",
    [
        HolderSpec("node", "file", path="/x"),
        HolderSpec("a", "file", path="x"),
        HolderSpec("a", "transit", url="http://example.org", token_file="/t"),
        HolderSpec("a", "transit", url="https://example.org"),
    ],
)
def test_a_holder_that_cannot_be_one_is_refused(spec: HolderSpec) -> None:
    with pytest.raises(SkerryError) as raised:
        check(spec)
    assert raised.value.problem is INVALID


async def test_keys_live_through_restarts_rotation_and_wrapping(
    tmp_path: Path, service: tuple[Transit, HolderSpec]
) -> None:
    transit, spec = service
    ring = make_ring(tmp_path)
    first = await ring.ensure("shop")
    assert await ring.ensure("shop") == first and not ring.is_external("shop")
    assert KEY not in (tmp_path / "s" / "keys.json").read_bytes()
    second = ring.fresh()
    await ring.adopt("shop", *second)
    assert make_ring(tmp_path).current("shop") == second
    assert make_ring(tmp_path).key(first.id) == first.key
    await ring.hold(spec, default=False)
    ended = await ring.rewrap("shop", "bao")
    assert {each.id for each in ended} == {first.id, second.id}
    assert not list((tmp_path / "own").iterdir()), "the wrapping keys before are gone"
    assert ring.is_external("shop") and len(transit.keys) == 2
    assert first.key.hex() not in repr(ring) + repr(first)
    again = make_ring(tmp_path)
    assert again.current("shop") == second
    transit.away = True
    locked = make_ring(tmp_path)
    with pytest.raises(SkerryError) as raised:
        locked.current("shop")
    assert raised.value.problem is STORE_UNREACHABLE and len(locked.locked) == 2
    transit.away = False
    locked.unlock()
    assert locked.current("shop") == second and not locked.locked


async def test_what_is_destroyed_stays_so_in_every_copy_of_the_ring(
    tmp_path: Path, service: tuple[Transit, HolderSpec]
) -> None:
    transit, spec = service
    ring = make_ring(tmp_path)
    await ring.hold(spec, default=True)
    made = await ring.ensure("shop")
    other = await ring.ensure("other")
    copy = (tmp_path / "s" / "keys.json").read_bytes()
    await ring.destroy("shop")
    assert made.id not in str(list(transit.keys))
    with pytest.raises(SkerryError) as raised:
        ring.key(made.id)
    assert raised.value.problem is KEY_DESTROYED
    (tmp_path / "s" / "keys.json").write_bytes(copy)
    restored = make_ring(tmp_path)
    assert restored.key(other.id) == other.key
    with pytest.raises(SkerryError):
        restored.key(made.id)
    with pytest.raises(SkerryError) as raised:
        await ring.destroy("shop")
    assert raised.value.problem is NOT_FOUND
    assert (await ring.ensure("shop")).id != made.id, "a new app of that name has a new key"


async def test_nothing_is_called_destroyed_while_its_holder_is_away(
    tmp_path: Path, service: tuple[Transit, HolderSpec]
) -> None:
    transit, spec = service
    ring = make_ring(tmp_path)
    await ring.hold(spec, default=True)
    made = await ring.ensure("shop")
    transit.away = True
    with pytest.raises(SkerryError):
        await ring.destroy("shop")
    assert not ring.destroyed and ring.key(made.id) == made.key
    transit.away = False
    await ring.destroy("shop")
    assert [each.id for each in ring.destroyed] == [made.id]


async def test_a_holder_that_keeps_what_it_should_destroy_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "files").mkdir()
    ring = make_ring(tmp_path)
    monkeypatch.setattr(FolderHolder, "destroy", lambda self, name: "done")
    with pytest.raises(SkerryError) as raised:
        await ring.hold(HolderSpec("usb", "file", path=str(tmp_path / "files")), default=False)
    assert raised.value.problem is CONFLICT
    with pytest.raises(SkerryError) as raised:
        await ring.hold(HolderSpec("usb", "file", path=str(tmp_path / "away")), default=False)
    assert raised.value.problem is STORE_UNREACHABLE


def sealed(data: bytes, sizes: int = 1000) -> bytes:
    chunks = (data[at : at + sizes] for at in range(0, len(data), sizes))
    return b"".join(seal("shop", "k1", KEY, chunks))


def opened(data: bytes, key: bytes = KEY) -> bytes:
    file = io.BytesIO(data)
    header = header_of(file)
    assert header is not None
    return b"".join(open_stream(file, header, key))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES]),
    st.integers(1, 2 * CHUNK_BYTES),
)
def test_a_sealed_stream_opens_to_what_it_was(length: int, sizes: int) -> None:
    data = os.urandom(length)
    whole = sealed(data, sizes)
    assert opened(whole) == data
    reader = Reader(io.BytesIO(whole), lambda header: KEY)
    assert reader.header.app == "shop" and reader.read(10) + reader.read() == data


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_stream_that_was_cut_or_changed_does_not_open(data: st.DataObject) -> None:
    whole = sealed(os.urandom(2 * CHUNK_BYTES + 100))
    start = whole.index(b"\n", whole.index(b"\n") + 1) + 1
    at = data.draw(st.integers(start, len(whole) - 1))
    block = CHUNK_BYTES + 16
    swapped = whole[:start] + whole[start + block : start + 2 * block]
    swapped += whole[start : start + block] + whole[start + 2 * block :]
    flipped = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    for wrong in (whole[:at], flipped, swapped, whole[: start + 2 * block], whole + b"x"):
        with pytest.raises(SkerryError) as raised:
            opened(wrong)
        assert raised.value.problem is CORRUPT
    with pytest.raises(SkerryError):
        opened(whole, bytes(32))
    renamed = whole.replace(b'"app":"shop"', b'"app":"shoq"', 1)
    with pytest.raises(SkerryError):
        opened(renamed)
    assert header_of(io.BytesIO(b"plain")) is None
    assert isinstance(header_of(io.BytesIO(whole)), Header)
