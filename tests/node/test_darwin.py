"""On macOS what only Linux can do is left out, and the rest works.

Shown with interpreters from which the rest was taken away (`darwin/sitecustomize.py`), for there is
no such machine here: what macOS does otherwise than Linux, and not less, is not tried.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from skerry.app import kinds
from skerry.kernel import disk
from skerry.kernel.errors import SkerryError
from skerry.kinds._shared.http.request import request
from skerry.surfaces.cli.client import local
from skerry.testing.nodes import open_directory, pack

FAKE = Path(__file__).with_name("darwin")
TOML = """
[app]
name = "news"
[functions.web]
entry = "web:app"
bindings = ["words", "pages", "files"]
[kv.words]
[sqlite.pages]
[bucket.files]
"""
WEB = """
from skerry import env


async def app(scope, receive, send):
    said = env.words.get("said", "bytes") or b""
    said = (said + b" " + scope["path"].rpartition("/")[2].encode()).strip()
    env.words.put("said", said)
    env.pages.execute("CREATE TABLE IF NOT EXISTS pages (text)")
    env.files.put("said", said)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": said})
"""
START_SECONDS = 90.0


@contextlib.contextmanager
def running(home: Path) -> Iterator[None]:
    """Run `skerry up` as it would be there; it must end by itself when it is told to."""
    ports = [wire.name for kind in kinds().values() for wire in kind.wires if wire.front]
    words = [word for name in ports for word in ("--port", f"{name}=0")]
    argv = [sys.executable, "-m", "skerry", "up", "--home", str(home), "--http-port", "0", *words]
    if os.geteuid() == 0:
        # Whoever is not root needs no mounts of its own to let apps reach what root alone may.
        argv = ["unshare", "--user", "--map-user=65534", "--map-group=65534", *argv]
    with tempfile.TemporaryFile("w+") as said:
        env = {**os.environ, "PYTHONPATH": str(FAKE)}
        with subprocess.Popen(argv, env=env, stdout=said, stderr=said) as process:
            try:
                end = time.monotonic() + START_SECONDS
                while not answers(home) and process.poll() is None and time.monotonic() < end:
                    time.sleep(0.05)
                started = answers(home)
                if started:
                    yield
            finally:
                process.terminate()
                status = process.wait(START_SECONDS)
                said.seek(0)
                text = said.read()
        assert started and status == 0, text
        assert "Traceback" not in text, text


def answers(home: Path) -> bool:
    try:
        local(home).call("node.status", {})
    except (OSError, SkerryError):
        return False
    return True


def call(home: Path, command: str, **params: Any) -> Any:
    return local(home).call(command, params)


def test_a_node_serves_branches_and_stops_without_what_linux_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Where tests write may be in /dev/shm, which is not there either.
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    with open_directory() as top, running(top / "h"):
        home = top / "h"
        upload = local(home).upload([pack({"skerry.toml": TOML, "web.py": WEB})])
        call(home, "app.deploy", upload=upload, branch="main")
        base = f"{call(home, 'node.status')['http']}/@news"
        assert request(f"{base}/main/put").body == b"put"
        call(home, "branch.create", app="news", name="pr")
        call(home, "branch.sleep", app="news", branch="main")
        assert request(f"{base}/pr/more").body == b"put more"
        assert request(f"{base}/main/get").body == b"put get"
        awake = call(home, "node.status")["awake"]
        assert {each["branch"] for each in awake} == {"main", "pr"}
        checks = {each["name"]: each for each in call(home, "node.doctor")}
        for name in ("landlock", "seccomp", "cgroups", "namespaces"):
            assert not checks[name]["ok"]
            assert checks[name]["hint"]


def test_data_is_synced_by_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "a").open("wb") as file:
        disk.sync_data(file.fileno())
        called: list[tuple[int, int]] = []
        monkeypatch.delattr(os, "fdatasync")
        with mock.patch.object(os, "fsync", lambda descriptor: called.append((descriptor, 0))):
            disk.sync_data(file.fileno())
        monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
        with mock.patch.object(fcntl, "fcntl", lambda *words: called.append(words)):
            disk.sync_data(file.fileno())
        assert called == [(file.fileno(), 0), (file.fileno(), 51)]
        with pytest.raises(OSError) as refused:
            disk.sync_data(10_000)
        assert refused.value.errno == errno.EBADF
