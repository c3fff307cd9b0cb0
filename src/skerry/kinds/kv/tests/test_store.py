"""The namespace against a dictionary, and its limits."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from skerry.kernel.errors import INVALID, TOO_LARGE, SkerryError
from skerry.kernel.usage import NoMeter
from skerry.kinds.kv.store import FILE, Store, new_entry

KEYS = st.text(st.sampled_from("ab/é\U0001f600\x00"), min_size=1, max_size=4)


class Hands:
    """A clock that the machine moves."""

    def __init__(self) -> None:
        self.seconds = 1000

    def now(self) -> int:
        return self.seconds * 1_000_000_000

    def monotonic(self) -> float:
        return float(self.seconds)


class Model(RuleBasedStateMachine):
    """A namespace does what a dictionary of values with an end would do."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Hands()
        self.store = Store(Path(self.folder.name) / FILE, self.clock, NoMeter(), create=True)
        self.model: dict[str, tuple[bytes, Any, int | None]] = {}

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def alive(self) -> dict[str, tuple[bytes, Any, int | None]]:
        now = self.clock.seconds
        return {k: v for k, v in self.model.items() if v[2] is None or v[2] > now}

    @rule(
        key=KEYS,
        value=st.binary(max_size=20),
        metadata=st.none() | st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=2),
        ttl=st.none() | st.integers(1, 5),
    )
    def put(self, key: str, value: bytes, metadata: Any, ttl: int | None) -> None:
        now = self.clock.seconds
        entry = new_entry(key, value, now, metadata=metadata, expiration_ttl=ttl)
        self.store.put([entry])
        self.model[key] = (value, metadata, None if ttl is None else now + ttl)

    @rule(keys=st.lists(KEYS, max_size=3))
    def delete(self, keys: list[str]) -> None:
        self.store.delete(keys)
        for key in keys:
            self.model.pop(key, None)

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.clock.seconds += seconds

    @precondition(lambda self: self.store.has_expired())
    @rule()
    def purge(self) -> None:
        gone = len(self.model) - len(self.alive())
        assert self.store.purge() == gone
        self.model = self.alive()

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        entry = self.store.get(key)
        expected = self.alive().get(key)
        assert (entry is None) == (expected is None)
        if entry is not None and expected is not None:
            assert (entry.value, entry.expires) == (expected[0], expected[2])

    @rule(prefix=st.text(st.sampled_from("ab/é"), max_size=2), limit=st.integers(1, 3))
    def list_by_pages(self, prefix: str, limit: int) -> None:
        names: list[str] = []
        cursor = ""
        while True:
            page = self.store.list(prefix, limit, cursor)
            assert len(page.keys) <= limit
            names += [key.name for key in page.keys]
            cursor = page.cursor
            if page.list_complete:
                break
        assert names == sorted(
            (key for key in self.alive() if key.startswith(prefix)), key=str.encode
        )

    @invariant()
    def metadata_is_listed(self) -> None:
        listed = {key.name: (key.metadata, key.expiration) for key in self.store.list().keys}
        assert listed == {key: (each[1], each[2]) for key, each in self.alive().items()}


TestModel = Model.TestCase
TestModel.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize(
    ("key", "value", "options", "problem"),
    [
        ("", b"", {}, INVALID),
        (".", b"", {}, INVALID),
        ("..", b"", {}, INVALID),
        ("\ud800", b"", {}, INVALID),
        ("é" * 257, b"", {}, TOO_LARGE),
        ("k", b"x" * ((25 << 20) + 1), {}, TOO_LARGE),
        ("k", b"", {"metadata": "x" * 1023}, TOO_LARGE),
        ("k", b"", {"metadata": {1j}}, INVALID),
        ("k", b"", {"expiration_ttl": 0}, INVALID),
        ("k", b"", {"expiration": 5}, INVALID),
    ],
)
def test_what_workers_kv_refuses_is_refused(
    key: str, value: bytes, options: dict[str, Any], problem: Any
) -> None:
    with pytest.raises(SkerryError) as caught:
        new_entry(key, value, 1000, **options)
    assert caught.value.problem is problem


@pytest.mark.parametrize("cursor", ["!", "aaaa", "a" * 2000, "k"])
def test_a_foreign_cursor_is_refused(tmp_path: Path, cursor: str) -> None:
    store = Store(tmp_path / FILE, Hands(), NoMeter(), create=True)
    with pytest.raises(SkerryError) as caught:
        store.list(cursor=cursor)
    assert caught.value.problem is INVALID
    store.close()
