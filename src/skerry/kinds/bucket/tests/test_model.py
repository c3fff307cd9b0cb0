"""A versioned bucket beside a list of versions for each key."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from skerry.kinds.bucket.binding import bind
from skerry.kinds.bucket.state import buckets, listing, objects
from skerry.kinds.bucket.state.database import Db

KEYS = st.sampled_from(["a", "a/b", "a/c", "a/b/c", "b/", "é", "\U0001f600", "a\uffff", "z z"])
BODIES = st.one_of(st.binary(max_size=20), st.binary(min_size=8193, max_size=8200))


@dataclass
class Kept:
    """A version in the model: its name, and its body or None for a marker."""

    name: str
    body: bytes | None
    etag: str = ""


@dataclass
class Key:
    versions: list[Kept] = field(default_factory=list)

    @property
    def current(self) -> Kept | None:
        return self.versions[-1] if self.versions else None


class Versions(RuleBasedStateMachine):
    """Puts, deletes and lists, with versioning off, on and suspended."""

    make_context: Any

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.bucket = self.run_(bind(self.make_context(Path(self.folder.name))))
        self.model: dict[str, Key] = {}
        self.versioning = ""

    def run_(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        if hasattr(self, "bucket"):
            self.run_(self.bucket.close())
            self.loop.close()
            self.folder.cleanup()

    def add(self, key: str, kept: Kept) -> None:
        versions = self.model.setdefault(key, Key()).versions
        if self.versioning != "Enabled":
            versions[:] = [each for each in versions if each.name != "null"]
        versions.append(kept)

    @rule(status=st.sampled_from(["Enabled", "Suspended"]))
    def set_versioning(self, status: str) -> None:
        def write(db: Db) -> None:
            bucket = buckets.find(db, "media")
            assert bucket is not None
            buckets.set_versioning(db, bucket.id, status)

        self.run_(store(self.bucket).write(write))
        self.versioning = status

    @rule(key=KEYS, body=BODIES)
    def put(self, key: str, body: bytes) -> None:
        info = self.run_(self.bucket.put(key, body))
        assert (info.version == "null") == (self.versioning != "Enabled")
        self.add(key, Kept(info.version, body, info.etag))

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.run_(self.bucket.delete(key))
        if self.versioning:
            name = self.names(key)[0]
            self.add(key, Kept(name, None))
        else:
            self.model.pop(key, None)

    @precondition(lambda self: any(key.versions for key in self.model.values()))
    @rule(data=st.data())
    def delete_version(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(k for k, v in self.model.items() if v.versions)))
        kept = data.draw(st.sampled_from(self.model[key].versions))

        def write(db: Db) -> None:
            bucket = buckets.find(db, "media")
            assert bucket is not None
            version = objects.find(db, bucket.id, key, kept.name)
            assert version is not None
            objects.delete_version(db, bucket.id, version, 0)

        self.run_(store(self.bucket).write(write))
        self.model[key].versions.remove(kept)

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        found = self.run_(self.bucket.get(key))
        kept = self.model.get(key, Key()).current
        body = None if found is None else self.run_(found.read())
        assert body == (kept.body if kept else None)

    @rule(
        prefix=st.sampled_from(["", "a", "a/", "a/b", "q"]),
        delimiter=st.sampled_from(["", "/", "b"]),
        limit=st.integers(1, 4),
    )
    def list_objects(self, prefix: str, delimiter: str, limit: int) -> None:
        keys: list[str] = []
        prefixes: list[str] = []
        for key in sorted(self.model, key=str.encode):
            kept = self.model[key].current
            if kept is None or kept.body is None or not key.startswith(prefix):
                continue
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if not found:
                keys.append(key)
            elif prefix + head + delimiter not in prefixes:
                prefixes.append(prefix + head + delimiter)
        got_keys: list[str] = []
        got_prefixes: list[str] = []
        cursor = ""
        while True:
            page = self.run_(
                self.bucket.list(prefix=prefix, delimiter=delimiter, cursor=cursor, limit=limit)
            )
            assert len(page.objects) + len(page.prefixes) <= limit
            got_keys += [each.key for each in page.objects]
            got_prefixes += page.prefixes
            cursor = page.cursor
            if not cursor:
                break
        assert (got_keys, got_prefixes) == (keys, prefixes)

    @rule(limit=st.integers(1, 3))
    def list_versions(self, limit: int) -> None:
        expected = [
            (key, each.name, each is self.model[key].current)
            for key in sorted(self.model, key=str.encode)
            for each in reversed(self.model[key].versions)
        ]

        def read(db: Db) -> list[tuple[str, str, bool]]:
            bucket = buckets.find(db, "media")
            assert bucket is not None
            found: list[tuple[str, str, bool]] = []
            after, name = "", ""
            while True:
                query = listing.Query(after=after, limit=limit)
                page = listing.versions(db, bucket.id, query, name)
                found += [(each.key, each.version, each.latest) for each in page.items]
                if not page.truncated:
                    return found
                assert page.last_item is not None
                after, name = page.last, page.last_item.version

        assert self.run_(store(self.bucket).read(read)) == expected

    def names(self, key: str) -> list[str]:
        def read(db: Db) -> list[str]:
            query = "SELECT version FROM versions WHERE key = ? ORDER BY sequence DESC"
            return [str(name) for (name,) in db.execute(query, (key,))]

        found: list[str] = self.run_(store(self.bucket).read(read))
        return found


def store(bucket: Any) -> Any:
    return bucket._store


def test_versions_behave_as_the_model_says(contexts: Any) -> None:
    class Machine(Versions):
        make_context = staticmethod(contexts)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
