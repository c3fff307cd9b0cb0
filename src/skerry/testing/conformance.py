"""The conformance suite: what every kind owes, asked by capability and never by name.

A test module takes it in with `from skerry.testing.conformance import *` and provides the fixture
`lab` (see `skerry.testing.lab`), once for every manifest that names a subject.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.kernel.errors import SkerryError
from skerry.kernel.manifest import Verb
from skerry.testing.afar import check_from_afar
from skerry.testing.asking import need
from skerry.testing.gating import TestGate  # noqa: F401 (a group of this suite)
from skerry.testing.lab import RESOURCE, Lab
from skerry.testing.nodes import open_directory, perform
from skerry.testing.placing import TestPlace  # noqa: F401 (a group of this suite)
from skerry.testing.replicating import followed, read_from_copy

CALLERS = 50
GARBAGE: Sequence[bytes] = (
    b"\x00" * 64,
    b"\xff\xfe\xfd" * 40,
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: nonsense\r\n\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    bytes(range(256)) * 8,
)
_TEXT = st.text("abcdefghijklmnopqrstuvwxyzåäö0123456789", min_size=1, max_size=20)


class TestBranch:
    """Copies are whole, of one instant, and apart."""

    async def test_writes_cross_in_neither_direction(self, lab: Lab) -> None:
        need(lab, Verb.BRANCH)
        app = await lab.app()
        main = await lab.subject(app)
        await main.put("shared", "before")
        copy = await lab.branch(app, "copy")
        await main.put("of-main", "1")
        await copy.put("of-copy", "2")
        assert await main.get() == {"shared": "before", "of-main": "1"}
        assert await copy.get() == {"shared": "before", "of-copy": "2"}

    async def test_a_branch_of_a_branch_has_its_state(self, lab: Lab) -> None:
        need(lab, Verb.BRANCH)
        app = await lab.app()
        await (await lab.subject(app)).put("a", "1")
        child = await lab.branch(app, "child")
        await child.put("b", "2")
        grandchild = await lab.branch(app, "grandchild", source="child")
        assert await grandchild.get() == {"a": "1", "b": "2"}

    async def test_deleting_one_leaves_the_others(self, lab: Lab) -> None:
        need(lab, Verb.BRANCH)
        app = await lab.app()
        main = await lab.subject(app)
        await main.put("a", "1")
        await lab.branch(app, "one")
        other = await lab.branch(app, "other")
        await perform(lab.node, "branch.delete", app=app, name="one")
        assert await main.get() == await other.get() == {"a": "1"}
        with pytest.raises(SkerryError):
            await lab.subject(app, "one")

    async def test_a_copy_under_writers_is_one_instant(self, lab: Lab) -> None:
        need(lab, Verb.BRANCH)
        app = await lab.app()
        main = await lab.subject(app)
        await main.put("n0000", "0")
        acknowledged = 0
        over = False

        async def write() -> None:
            nonlocal acknowledged
            while not over and acknowledged < 2000:
                await main.put(f"n{acknowledged + 1:04}", str(acknowledged + 1))
                acknowledged += 1

        writer = asyncio.create_task(write())
        await asyncio.sleep(0.05)
        before = acknowledged
        copy = await lab.branch(app, "copy")
        after = acknowledged
        over = True
        await writer
        found = sorted(int(value) for value in (await copy.get()).values())
        assert found == list(range(len(found))), "the copy holds every write up to one moment"
        assert before <= found[-1] <= after + 1

    async def test_a_sleeping_branch_is_copied_without_waking_it(self, lab: Lab) -> None:
        need(lab, Verb.BRANCH, Verb.SLEEP)
        app = await lab.app()
        main = await lab.subject(app)
        await main.put("a", "1")
        await perform(lab.node, "branch.sleep", app=app, branch="main")
        copy = await lab.branch(app, "copy")
        assert lab.process(app) is None
        assert await copy.get() == {"a": "1"}

    async def test_reset_takes_the_parent_again_and_promote_gives_back(self, lab: Lab) -> None:
        need(lab, Verb.BRANCH)
        app = await lab.app()
        main = await lab.subject(app)
        await main.put("a", "1")
        copy = await lab.branch(app, "copy")
        await copy.put("b", "2")
        await perform(lab.node, "branch.promote", app=app, name="copy")
        assert await main.get() == {"a": "1", "b": "2"}
        kept = await lab.subject(app, "main-before-1")
        assert await kept.get() == {"a": "1"}
        await copy.put("c", "3")
        await perform(lab.node, "branch.reset", app=app, name="copy")
        assert await copy.get() == {"a": "1", "b": "2"}

    async def test_the_cost_does_not_grow_with_the_state(self, lab: Lab) -> None:
        need(lab, Verb.BRANCH)
        volume = lab.node.volume
        if not volume.shares_blocks:
            pytest.skip(f"the volume's driver is {volume.driver}: every byte is copied")
        app = await lab.app()
        main = await lab.subject(app)
        for number in range(50):
            await main.put(f"k{number}", "x" * 90)
        await lab.branch(app, "copy")
        directory = lab.node.catalogue.branch(app, "copy").directory
        used = await asyncio.to_thread(volume.exclusive_bytes, directory)
        held = sum(file.lstat().st_size for file in volume.path(directory).rglob("*"))
        # A server goes on writing its own blocks after the copy; a copied state is far more.
        assert used < max(256 * 1024, held // 8)


class TestSleep:
    """What nobody uses costs nothing, and wakes on the first byte."""

    async def test_it_sleeps_when_idle_and_wakes_with_its_state(self, lab: Lab) -> None:
        need(lab, Verb.SLEEP)
        app = await lab.app(idle="300ms")
        subject = await lab.subject(app)
        await subject.put("a", "1")
        assert lab.process(app) is not None
        await lab.asleep(app)
        assert await subject.get() == {"a": "1"}

    async def test_many_callers_wake_it_once(self, lab: Lab) -> None:
        need(lab, Verb.SLEEP, state=False)
        app = await lab.app()
        subjects = [await lab.subject(app) for _ in range(CALLERS)]
        started: set[str] = set()
        await perform(lab.node, "branch.sleep", app=app, branch="main")

        async def watch() -> None:
            while True:
                running = lab.process(app)
                if running is not None:
                    started.add(running.instance)
                await asyncio.sleep(0.001)

        watcher = asyncio.create_task(watch())
        await asyncio.gather(*(subject.get() for subject in subjects))
        watcher.cancel()
        assert len(started) == 1

    async def test_kill_9_counts_as_sleep(self, lab: Lab) -> None:
        need(lab, Verb.SLEEP)
        app = await lab.app()
        subject = await lab.subject(app)
        for number in range(5):
            await subject.put(f"k{number}", str(number))
            running = lab.process(app)
            assert running is not None
            os.kill(running.child.pid, signal.SIGKILL)
            await running.child.ended
            await asyncio.sleep(0.01)
        assert await subject.get() == {f"k{number}": str(number) for number in range(5)}


class TestAfar:
    """A function uses a resource that is on another node as if it were on its own."""

    async def test_it_is_the_same_and_a_lost_way_is_told(self, lab: Lab) -> None:
        need(lab, Verb.BIND, state=False)
        if lab.manifest.remote is None:
            pytest.skip(f"{lab.manifest.name} is used on its own node only")
        with open_directory() as folder:
            await check_from_afar(lab, folder)


class TestMeter:
    """Counted once, whatever happens; idle is zero."""

    async def test_use_is_posted_once_and_idle_is_zero(self, lab: Lab) -> None:
        need(lab, Verb.METER, state=False)
        app = await lab.app()
        subject = await lab.subject(app)
        await subject.get()
        await perform(lab.node, "branch.sleep", app=app, branch="main")
        first = await perform(lab.node, "node.meter", app=app)
        assert {each.unit for each in first} >= {"cpu_ms"}
        await asyncio.sleep(0.1)
        assert await perform(lab.node, "node.meter", app=app) == first
        assert lab.node.ledger.balanced()

    async def test_kill_9_loses_no_count(self, lab: Lab) -> None:
        need(lab, Verb.METER)
        units = {unit.name for unit in lab.manifest.units}
        app = await lab.app()
        subject = await lab.subject(app)
        await subject.put("a", "1")
        await subject.get()
        running = lab.process(app)
        assert running is not None
        os.kill(running.child.pid, signal.SIGKILL)
        await running.child.ended
        await asyncio.sleep(0.2)
        used = {each.unit for each in await perform(lab.node, "node.meter", app=app)}
        assert used & units, "something of what the kind counts"

    async def test_branches_add_up_to_the_app(self, lab: Lab) -> None:
        need(lab, Verb.METER, Verb.BRANCH)
        app = await lab.app()
        await (await lab.subject(app)).put("a", "1")
        await (await lab.branch(app, "copy")).put("b", "2")
        for branch in ("main", "copy"):
            await perform(lab.node, "branch.sleep", app=app, branch=branch)
        whole = await perform(lab.node, "node.meter", app=app)
        parts = [
            each
            for branch in ("copy", "main")
            for each in await perform(lab.node, "node.meter", app=app, branch=branch)
        ]
        assert sorted(map(repr, whole)) == sorted(map(repr, parts))


class TestMove:
    """What is exported is what is imported."""

    async def test_export_and_import_are_the_identity(self, lab: Lab) -> None:
        need(lab, Verb.EXPORT, Verb.IMPORT)
        source, target = await lab.app(), await lab.app()

        @settings(
            max_examples=3,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
        )
        @given(st.dictionaries(_TEXT, _TEXT, min_size=1, max_size=8))
        def remember(data: dict[str, str]) -> None:
            samples.append(data)

        samples: list[dict[str, str]] = []
        remember()
        writer, reader = await lab.subject(source), await lab.subject(target)
        await reader.put("old", "gone")
        expected: dict[str, str] = {}
        for data in samples[-3:]:
            for key, value in data.items():
                if key not in expected:
                    await writer.put(key, value)
                    expected[key] = value
        assert await writer.get() == expected
        download = await perform(lab.node, "resource.export", app=source, name=RESOURCE)
        upload = await lab.node.archives.receive(lab.node.archives.send(download.download))
        await perform(lab.node, "resource.import", app=target, name=RESOURCE, upload=upload)
        assert await reader.get() == expected

    async def test_what_is_no_export_is_refused_and_changes_nothing(self, lab: Lab) -> None:
        need(lab, Verb.IMPORT)
        app = await lab.app()
        subject = await lab.subject(app)
        await subject.put("a", "1")
        running = await lab.node.supervisor.wake(app, "main", RESOURCE)
        junk = lab.node.archives.new_directory_for(app, lab.node.workshop.uid(app))
        with pytest.raises(SkerryError):
            params = {"resource": RESOURCE, "directory": str(junk)}
            await running.channel.call("restore", params)
        assert await subject.get() == {"a": "1"}


class TestWire:
    """Strangers do no harm."""

    async def test_garbage_kills_nothing(self, lab: Lab) -> None:
        need(lab, state=False)
        app = await lab.app()
        subject = await lab.subject(app)
        await subject.get()
        running = lab.process(app)
        assert running is not None
        for port in {lab.node.http_port, *lab.node.ports.values()}:
            for garbage in GARBAGE:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(garbage)
                writer.write_eof()
                try:
                    async with asyncio.timeout(5):
                        await reader.read()
                except (TimeoutError, ConnectionError):
                    pytest.fail(f"{garbage[:20]!r} was not answered, nor the connection closed")
                finally:
                    writer.close()
        await subject.get()
        assert lab.process(app) is running

    async def test_a_slow_client_blocks_nobody(self, lab: Lab) -> None:
        need(lab, state=False)
        app = await lab.app()
        subject = await lab.subject(app)
        slow = []
        for port in {lab.node.http_port, *lab.node.ports.values()}:
            for _ in range(20):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"G")
                slow.append(writer)
        async with asyncio.timeout(10):
            await subject.get()
        for writer in slow:
            writer.close()


class TestOperability:
    """It can be seen, and stopped."""

    async def test_status_names_it_while_it_is_awake(self, lab: Lab) -> None:
        need(lab, state=False)
        app = await lab.app()
        await (await lab.subject(app)).get()
        status = await perform(lab.node, "node.status")
        assert app in {each.app for each in status.awake}
        running = lab.process(app)
        assert running is not None
        assert RESOURCE in await running.channel.call("status")

    async def test_it_stops_cleanly_within_five_seconds(self, lab: Lab) -> None:
        need(lab, state=False)
        app = await lab.app()
        await (await lab.subject(app)).get()
        running = lab.process(app)
        assert running is not None
        async with asyncio.timeout(5):
            await perform(lab.node, "branch.sleep", app=app, branch="main")
        assert running.child.ended.result().status == 0

    async def test_its_log_holds_no_secret(self, lab: Lab) -> None:
        need(lab, state=False)
        app = await lab.app()
        subject = await lab.subject(app)
        await subject.get()
        await perform(lab.node, "branch.sleep", app=app, branch="main")
        lines = await lab.node.logbook.tail(app, "main", None, 1000)
        text = "\n".join(each.text for each in lines)
        keys = lab.node.workshop.keys(lab.node.catalogue.record(app, "main", RESOURCE))
        secrets = [key.hex() for key in keys]
        secrets += [v for k, v in subject.place.fields.items() if k in ("password", "token")]
        assert not [secret for secret in secrets if secret and secret in text]

    async def test_its_state_is_its_own(self, lab: Lab) -> None:
        """No other user of the machine can look into a resource's directory."""
        need(lab, state=False)
        app = await lab.app()
        await (await lab.subject(app)).get()
        branch = lab.node.catalogue.branch(app, "main")
        for path in (
            lab.node.workshop.state(branch, branch.resources[RESOURCE]),
            lab.node.workshop.run(branch.resources[RESOURCE]),
        ):
            mode = (await asyncio.to_thread(path.stat)).st_mode
            assert mode & 0o077 == 0


class TestReplicate:
    """What was acknowledged is on the standby, and the standby can serve it."""

    async def test_a_standby_has_every_write_and_can_serve_it(
        self, lab: Lab, tmp_path: Path
    ) -> None:
        need_replica(lab)
        app = await lab.app()
        subject = await lab.subject(app)
        await subject.put("before", "0")
        async with followed(lab, app, tmp_path) as copy:
            for number in range(20):
                await subject.put(f"k{number}", str(number))
            os.kill(running(lab, app), signal.SIGKILL)
            await lab.asleep(app)
            await subject.put("after", "1")
            await copy.take_over()
        wanted = {"before": "0", "after": "1"} | {f"k{n}": str(n) for n in range(20)}
        assert await subject.get() == wanted

    async def test_a_write_waits_for_the_standby(self, lab: Lab, tmp_path: Path) -> None:
        need_replica(lab)
        app = await lab.app()
        subject = await lab.subject(app)
        await subject.put("first", "1")
        async with followed(lab, app, tmp_path) as copy:
            await subject.put("second", "2")
            copy.reachable.clear()
            late = asyncio.create_task(subject.put("third", "3"))
            done, _ = await asyncio.wait([late], timeout=0.3)
            assert not done, "it was acknowledged though no standby has it"
            copy.reachable.set()
            await late
            await copy.take_over()
        assert await subject.get() == {"first": "1", "second": "2", "third": "3"}

    async def test_a_copy_is_read_and_refuses_every_write(self, lab: Lab) -> None:
        if not lab.manifest.readable:
            pytest.skip(f"{lab.manifest.name}: its copies are not read")
        app = await lab.app()
        subject = await lab.subject(app)
        await subject.put("one", "1")
        async with read_from_copy(lab, app) as reader:
            copy = await lab.subject(reader)
            assert await copy.get() == {"one": "1"}
            for key in ("one", "two"):
                # Each client says it in its own way; what counts is that nothing has changed.
                with pytest.raises(Exception, match=r".+"):
                    await copy.put(key, "2")
            assert await copy.get() == {"one": "1"}
        assert await subject.get() == {"one": "1"}


def need_replica(lab: Lab) -> None:
    """Skip a test for a kind that cannot be replicated, with the kind's reason."""
    if not lab.manifest.replica:
        pytest.skip(f"{lab.manifest.name}: {lab.manifest.replicates.reason or 'keeps no state'}")


def running(lab: Lab, app: str) -> int:
    """Return the id of the process that serves an app's resource."""
    found = lab.process(app)
    assert found is not None
    return found.child.pid
