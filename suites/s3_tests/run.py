"""Run ceph/s3-tests against the bucket kind and tell how many of its tests pass.

    python suites/s3_tests/run.py CHECKOUT [--python PYTHON] [pytest arguments]

CHECKOUT is a clone of https://github.com/ceph/s3-tests (MIT licence), and PYTHON an interpreter
with its requirements. The server runs in this process on a loopback port, with its state in a
temporary directory. A day of lifecycle rules lasts ten seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import configparser
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from skerry.kernel.clock import SystemClock
from skerry.kernel.keys import Keys
from skerry.kernel.kind import Context
from skerry.kernel.names import ResourceRef
from skerry.kernel.usage import NoMeter
from skerry.kinds.bucket.account import Identity
from skerry.kinds.bucket.config import BucketConfig
from skerry.kinds.bucket.engine import BucketEngine
from skerry.kinds.bucket.expiry import Expiry
from skerry.kinds.bucket.messages import UserParams
from skerry.kinds.bucket.state.buckets import delete as delete_bucket
from skerry.kinds.bucket.wire.application import make

MARKERS = "not fails_on_aws and not bucket_logging"
FILES = ("s3tests/functional/test_s3.py", "s3tests/functional/test_headers.py")
DAY_SECONDS = 10
USERS = ("alt", "tenant", "iam", "iam-root", "iam-alt-root")


class _NoHost:
    """A host for an engine that needs none."""

    async def ready(self, resource: str) -> str:
        raise NotImplementedError(resource)

    async def bind(self, resource: str) -> object:
        raise NotImplementedError(resource)

    def progress(self, done: int, total: int, text: str) -> None:
        """Report nothing."""


def engine_in(directory: Path) -> BucketEngine:
    """Make an engine with secrets of its own."""
    state, run = directory / "state", directory / "run"
    state.mkdir()
    run.mkdir()
    context = Context(
        ref=ResourceRef("suite", "main", "bucket", "default"),
        id=secrets.token_hex(8),
        directory=state,
        run=run,
        code=directory,
        config=BucketConfig(signature_v2=True),
        keys=Keys(secrets.token_bytes(32), secrets.token_bytes(32)),
        meter=NoMeter(),
        clock=SystemClock(),
        host=_NoHost(),
    )
    return BucketEngine(context)


class _Server:
    """The engine and its wire on a loopback port, in a thread with a loop of its own."""

    def __init__(self, engine: BucketEngine) -> None:
        self.engine = engine
        self.users: dict[str, Identity] = {}
        self.port = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> None:
        """Serve; return when the port is open."""
        self._thread.start()
        assert self._ready.wait(30), "the server did not start"

    def stop(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._thread.join(30)

    async def _run(self) -> None:
        self.engine.expiry = Expiry(self.engine.account, DAY_SECONDS * 10**9, 1.0)
        await self.engine.start()
        for name in USERS:
            await self.engine.word_grant(UserParams(name, f"{name}@example.com"))
        name = self.engine.context.ref.name
        await self.engine.account.store.write(delete_bucket, name, self.engine.account.now())
        self.users = {each.name: each for each in self.engine.account.identities.values()}
        config = uvicorn.Config(
            make(self.engine), port=0, log_level="warning", lifespan="off", server_header=False
        )
        self._server = uvicorn.Server(config)
        serving = asyncio.create_task(self._server.serve())
        while not self._server.started:
            await asyncio.sleep(0.01)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        self._ready.set()
        await serving
        await self.engine.stop()


def write_configuration(path: Path, server: _Server) -> None:
    """Write the suite's configuration file."""
    conf = configparser.RawConfigParser()
    conf["DEFAULT"] = {
        "host": "localhost",
        "port": str(server.port),
        "is_secure": "False",
        "ssl_verify": "False",
    }
    conf["fixtures"] = {"bucket prefix": "suite-{random}-"}
    sections = {"s3 main": "owner", "s3 alt": "alt", "s3 tenant": "tenant"}
    sections |= {"iam": "iam", "iam root": "iam-root", "iam alt root": "iam-alt-root"}
    for section, name in sections.items():
        user = server.users[name]
        conf[section] = {
            "display_name": name,
            "user_id": user.id,
            "email": user.email or "owner@example.com",
            "access_key": user.access_key,
            "secret_key": user.secret,
        }
    conf["s3 main"]["api_name"] = "default"
    conf["s3 main"]["lc_debug_interval"] = str(DAY_SECONDS)
    conf["s3 tenant"]["tenant"] = "tenant"
    with path.open("w") as file:
        conf.write(file)


@contextlib.contextmanager
def serving() -> Iterator[tuple[Path, _Server]]:
    """Serve a new account; yield the suite's configuration file."""
    with tempfile.TemporaryDirectory(prefix="skerry-s3-tests-") as folder:
        server = _Server(engine_in(Path(folder)))
        server.start()
        try:
            conf = Path(folder) / "s3tests.conf"
            write_configuration(conf, server)
            yield conf, server
        finally:
            server.stop()


def main() -> int:
    """Run the suite; its own summary line is the score."""
    parser = argparse.ArgumentParser(description="Run ceph/s3-tests against the bucket kind.")
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--python", default=sys.executable)
    arguments, rest = parser.parse_known_args()
    head = arguments.checkout / ".git"
    if head.exists():
        commit = subprocess.run(
            ["git", "-C", arguments.checkout, "rev-parse", "HEAD"],
            stdout=subprocess.PIPE,
            check=True,
        )
        print("ceph/s3-tests", commit.stdout.decode().strip(), flush=True)
    chosen = rest if any(".py" in each for each in rest) else [*FILES, *rest]
    if not any(each.startswith("-m") for each in rest):
        chosen += ["-m", MARKERS]
    with serving() as (conf, _):
        command = [arguments.python, "-m", "pytest", "-p", "no:cacheprovider", "-q", *chosen]
        environment = {**os.environ, "S3TEST_CONF": str(conf)}
        return subprocess.run(
            command, cwd=arguments.checkout, env=environment, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
