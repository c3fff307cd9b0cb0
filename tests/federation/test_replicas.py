"""Standbys of an app on three nodes, each a process of its own: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import boto3
import pytest
from tests.ports import free_port

from skerry.kernel.errors import SkerryError
from skerry.node.home import Home
from skerry.surfaces.cli.client import Client, UnixConnection
from skerry.testing.nodes import open_directory, pack

pytestmark = pytest.mark.slow

NODES = {"rock": "SE", "skerry": "FI", "holm": "DE", "key": "US"}
APP = """
[app]
name = "{name}"
[policy]
jurisdiction = ["EU"]
[functions.web]
entry = "web:app"
bindings = ["db"]
[sqlite.db]
"""
CODE = """
from skerry import env

async def app(scope, receive, send):
    await env.db.aio.execute("CREATE TABLE IF NOT EXISTS kept (n INTEGER PRIMARY KEY, b)")
    if scope["path"].startswith("/put/"):
        number, _, size = scope["path"][5:].partition("/")
        row = [int(number), int(size or 1)]
        await env.db.aio.execute("INSERT OR REPLACE INTO kept VALUES (?, randomblob(?))", row)
    rows = await env.db.aio.query("SELECT count(*) AS n, max(n) AS last FROM kept")
    body = f"{rows[0].n} {rows[0].last}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""


class Cluster:
    """Nodes as processes, and what a client and an operator do with them."""

    def __init__(self, top: Path, lease_seconds: str = "2") -> None:
        self.top = top
        self._lease_seconds = lease_seconds
        self.leases = top / "leases"
        self.leases.mkdir()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = {name: free_port() for name in NODES}

    def start(self, name: str) -> None:
        (self.top / name / "test-http").unlink(missing_ok=True)
        arguments = [str(self.top / name), name, NODES[name], str(self.ports[name])]
        arguments += [str(self.leases), self._lease_seconds, self.host(name)]
        with (self.top / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [
                    *self.prefix(name),
                    *(sys.executable, "-m", "tests.federation.replica_node"),
                    *arguments,
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=Path(__file__).parents[2],
            )

    def host(self, name: str) -> str:
        """Return where a node listens."""
        return "127.0.0.1"

    def prefix(self, name: str) -> list[str]:
        """Return what a node's process is started by."""
        return []

    def begin(self, *names: str) -> None:
        """Start nodes, by default every one, and bind each to each."""
        names = names or tuple(NODES)
        for name in names:
            self.start(name)
        for name in names:
            self.wait(name)
        for number, one in enumerate(names):
            for other in names[number + 1 :]:
                invited = self.call(one, "federation.invite")
                self.call(other, "federation.join", invitation=invited["invitation"])

    def wait(self, name: str) -> None:
        until((self.top / name / "test-http").exists, f"{name} is up")

    def call(self, node: str, command: str, **params: Any) -> Any:
        return self.client(node).call(command, params)

    def client(self, name: str) -> Client:
        home = Home(self.top / name)
        connect = functools.partial(UnixConnection, home.socket)
        return Client(name, connect, home.token)

    def get(self, name: str, path: str, app: str = "shop") -> tuple[int, str]:
        port = int((self.top / name / "test-http").read_text())
        connection = http.client.HTTPConnection(self.host(name), port, timeout=20)
        try:
            connection.request("GET", path, headers={"Host": f"{app}.localhost"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def sql(self, name: str, sql: str, through: str = "", *, replica: bool = False) -> str:
        """Run statements as an official client of Postgres does; return the last value.

        `through` is the node whose port is used, if it is not the one that serves. `replica`: the
        node's copy is asked.
        """
        asked = {"name": "db", "app": "bank", "branch": "main", "replica": replica}
        fields = self.call(name, "resource.connect", **asked)["fields"]
        port = self.call(through or name, "node.status")["ports"]["pg"]

        async def run() -> Any:
            connection = await asyncpg.connect(fields["url"], port=port, timeout=20)
            try:
                *first, last = sql.split(";")
                for each in first:
                    await connection.execute(each)
                return await connection.fetchval(last)
            finally:
                await connection.close()

        return str(asyncio.run(run()))

    def deploy(self, name: str, app: str, more: str = "") -> None:
        files = {"skerry.toml": APP.format(name=app), "web.py": CODE + more}
        upload = self.client(name).upload([pack(files)])
        self.call(name, "app.deploy", upload=upload, branch="main")

    def holder(self, app: str, *names: str) -> str:
        """Wait until one of the nodes serves an app; return its name."""
        found: list[str] = []

        def look() -> bool:
            for name in names:
                held = self.call(name, "federation.nodes")[0]["holds"]
                if any(each.startswith(f"{app} ") for each in held):
                    found[:] = [name]
                    return self.get(name, "/", app)[0] == 200
            return False

        until(look, f"{app} is served")
        return found[0]

    def standbys(self, app: str, holder: str) -> list[str]:
        return [
            node["name"]
            for node in self.call(holder, "federation.nodes")
            if any(each.startswith(f"{app} (") and "follow" not in each for each in node["copies"])
        ]

    def stop(self) -> None:
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Writer(threading.Thread):
    """Writes numbers at whatever node answers, and counts what was acknowledged."""

    def __init__(self, cluster: Cluster, app: str, *nodes: str) -> None:
        super().__init__()
        self._cluster = cluster
        self._app = app
        self._nodes = nodes
        self.acknowledged: list[int] = []
        self.over = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.over.is_set():
            number += 1
            for node in self._nodes:
                if self._cluster.get(node, f"/put/{number}", self._app)[0] == 200:
                    self.acknowledged.append(number)
                    break
            else:
                time.sleep(0.05)

    def finish(self) -> set[int]:
        self.over.set()
        self.join()
        return set(self.acknowledged)


def until(condition: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(SkerryError, asyncpg.PostgresError, OSError):
            if condition():
                return
        time.sleep(0.1)
    raise AssertionError(f"not in {seconds:g} s: {what}")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with open_directory() as top:
        made = Cluster(top)
        try:
            made.begin()
            yield made
        finally:
            made.stop()
            for name in NODES:
                sys.stdout.write(f"---- {name}\n{(top / f'{name}.log').read_text()[-8000:]}")


def kept(cluster: Cluster, node: str, app: str) -> int:
    """Return how many numbers an app holds."""
    status, text = cluster.get(node, "/", app)
    assert status == 200, text
    return int(text.split()[0])


def test_a_killed_node_is_replaced_and_nothing_acknowledged_is_lost(cluster: Cluster) -> None:
    cluster.deploy("rock", "shop")
    assert cluster.get("rock", "/put/0")[0] == 200
    with pytest.raises(SkerryError, match="2 standbys, not 3") as refused:
        cluster.call("rock", "federation.place", app="shop", replicas=3, survive="node")
    assert "key: policy forbids it" in refused.value.why
    with pytest.raises(SkerryError, match="1 standbys, not 2"):
        cluster.call("rock", "federation.place", app="shop", replicas=2, **{"in": "FI"})

    placed = cluster.call(
        "rock", "federation.place", app="shop", replicas=2, survive="node", **{"in": "EU"}
    )
    assert sorted(placed["standbys"]) == ["holm", "skerry"]
    assert sorted(cluster.standbys("shop", "rock")) == ["holm", "skerry"]
    said = [each["said"] for each in cluster.call("rock", "audit.entries")]
    for name in ("holm", "skerry"):
        assert any(
            each.startswith(f"shop was placed on {name} from rock, residency R0") for each in said
        )
    with pytest.raises(SkerryError, match="standbys"):
        cluster.call("rock", "federation.place", app="shop", to="skerry")

    writer = Writer(cluster, "shop", "rock", "skerry", "holm", "key")
    writer.start()
    until(lambda: len(writer.acknowledged) > 50, "writes are acknowledged")
    cluster.deploy("rock", "shop", "# changed at the last moment\n")
    os.killpg(cluster.processes["rock"].pid, signal.SIGKILL)
    cluster.processes["rock"].wait()
    before = len(writer.acknowledged)
    until(lambda: len(writer.acknowledged) > before + 50, "writes go on")
    acknowledged = writer.finish()

    holder = cluster.holder("shop", "skerry", "holm")
    branch = cluster.call(holder, "branch.list", app="shop")[0]
    assert branch["version"] == 2, "the deploy of the last moment has come"
    total, last = map(int, cluster.get(holder, "/")[1].split())
    assert last >= max(acknowledged)
    assert total >= len(acknowledged) + 1, "nothing acknowledged is lost"
    assert kept(cluster, "key", "shop") == total, "every node sends clients to the new place"

    cluster.start("rock")
    cluster.wait("rock")
    until(lambda: "rock" in cluster.standbys("shop", holder), "rock stands by")
    assert kept(cluster, "rock", "shop") == total
    held = {node["name"]: node["holds"] for node in cluster.call("rock", "federation.nodes")}
    assert held["rock"] == []


READ = """
[app]
name = "lib"
[policy]
jurisdiction = ["EU"]
[sqlite.db]
idle = "1s"
[kv.cfg]
idle = "1s"
[bucket.media]
idle = "1s"
"""


def ask(fields: dict[str, str], path: str, body: Any = None, method: str = "") -> tuple[int, Any]:
    """Ask a resource over HTTP with its token; return the status and the JSON of the answer."""
    headers = {"Authorization": f"Bearer {fields['token']}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(fields["url"] + path, data, headers, method=method or None)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def execute(fields: dict[str, str], sql: str) -> Any:
    """Run a statement over Hrana; return the first value of its first row, or its error."""
    stream = {"requests": [{"type": "execute", "stmt": {"sql": sql}}, {"type": "close"}]}
    status, found = ask(fields, "/v2/pipeline", stream)
    assert status == 200, found
    first = found["results"][0]
    if first["type"] == "error":
        return first["error"]
    rows = first["response"]["result"]["rows"]
    return rows[0][0]["value"] if rows else None


def test_a_standby_serves_reads_and_names_the_node_that_writes(cluster: Cluster) -> None:
    upload = cluster.client("skerry").upload([pack({"skerry.toml": READ})])
    cluster.call("skerry", "app.deploy", upload=upload, branch="main")

    def fields(node: str, name: str, **more: Any) -> dict[str, str]:
        found = cluster.call(node, "resource.connect", name=name, app="lib", branch="main", **more)
        assert found["leader"] == ("skerry" if more else "")
        return dict(found["fields"])

    database, values = fields("skerry", "db"), fields("skerry", "cfg")
    execute(database, "create table kept (n)")
    cluster.call("skerry", "federation.place", app="lib", replicas=1)
    standby = cluster.standbys("lib", "skerry")[0]
    with pytest.raises(SkerryError, match="keeps no copy of lib"):
        fields("skerry", "db", replica=True)
    copy, copied = fields(standby, "db", replica=True), fields(standby, "cfg", replica=True)
    assert execute(copy, "select count(*) from kept") == "0"

    for number in range(3):
        execute(database, f"insert into kept values ({number})")
    until(lambda: execute(copy, "select count(*) from kept") == "3", "the copy is renewed")
    for sql in ("insert into kept values (9)", "drop table kept", "pragma query_only = off"):
        refused = execute(copy, sql)
        assert refused["code"] in ("SQLITE_READONLY", "SQLITE_AUTH"), refused
    assert "skerry" in execute(copy, "insert into kept values (9)")["message"]

    path = "/client/v4/accounts/lib/storage/kv/namespaces/{}/values/greeting"
    assert ask(values, path.format(values["namespace_id"]), {"a": 1}, "PUT")[0] == 200
    read = path.format(copied["namespace_id"])
    until(lambda: ask(copied, read) == (200, {"a": 1}), "the copy is renewed")
    status, refused = ask(copied, read, {"a": 2}, "PUT")
    assert status == 403 and "the node skerry writes" in refused["errors"][0]["message"]
    with pytest.raises(SkerryError, match="only read"):
        cluster.call(standby, "app.delete", app="lib-ro")
    read_and_write_objects(fields("skerry", "media"), fields(standby, "media", replica=True))

    told = cluster.call(standby, "federation.nodes")[0]["copies"]
    assert any(each.startswith("lib of skerry, read as of ") for each in told), told

    def asleep() -> bool:
        awake = cluster.call(standby, "node.status")["awake"]
        return all(each["app"] != "lib-ro" for each in awake)

    until(asleep, "readers sleep")
    assert execute(copy, "select count(*) from kept") == "3", "and wake"


def read_and_write_objects(leader: dict[str, str], copy: dict[str, str]) -> None:
    """Write an object with the official client, and read it from the copy with the same one."""

    def client(fields: dict[str, str]) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=fields["url"],
            aws_access_key_id=fields["access_key"],
            aws_secret_access_key=fields["secret_key"],
            region_name="eu-west-1",
        )

    writing, reading = client(leader), client(copy)
    writing.put_object(Bucket="media", Key="fox.txt", Body=b"lazy dog")

    def reads() -> bool:
        with contextlib.suppress(reading.exceptions.ClientError):
            answer = reading.get_object(Bucket="media", Key="fox.txt")
            sent = answer["ResponseMetadata"]["HTTPHeaders"]
            assert sent["skerry-leader"] == "skerry" and sent["skerry-as-of"][:2] == "20"
            return bool(answer["Body"].read() == b"lazy dog")
        return False

    until(reads, "the copy has the object")
    with pytest.raises(reading.exceptions.ClientError, match="the node skerry writes"):
        reading.put_object(Bucket="media", Key="own.txt", Body=b"")
    for each in (writing, reading):
        each.close()


def test_an_old_leader_that_wakes_up_is_fenced_and_keeps_what_it_alone_had(
    cluster: Cluster,
) -> None:
    cluster.deploy("rock", "diary")
    cluster.call("rock", "federation.place", app="diary", replicas=2)
    assert cluster.get("rock", "/put/1", "diary")[0] == 200
    others = [cluster.processes[name].pid for name in ("skerry", "holm")]
    until(lambda: len(cluster.standbys("diary", "rock")) == 2, "both follow")
    for process in others:
        os.kill(process, signal.SIGSTOP)
    large = 24 << 20  # more than the system takes for a receiver that does not read
    assert cluster.get("rock", f"/put/2/{large}", "diary")[0] == 200, "it waits for nobody"
    os.kill(cluster.processes["rock"].pid, signal.SIGSTOP)
    for process in others:
        os.kill(process, signal.SIGCONT)
    holder = cluster.holder("diary", "skerry", "holm")
    assert kept(cluster, holder, "diary") == 1
    os.kill(cluster.processes["rock"].pid, signal.SIGCONT)

    until(lambda: "rock" in cluster.standbys("diary", holder), "rock stands by")
    assert kept(cluster, "rock", "diary") == 1, "the old leader sends clients to the new one"
    aside = list((cluster.top / "rock" / "services" / "federation" / "kept").glob("diary-*.tar"))
    assert len(aside) == 1
    entries = json.dumps(cluster.call("rock", "audit.entries"))
    assert "app-fenced" in entries and aside[0].name in entries, "the audit log says it"


def test_a_leader_cut_off_from_the_leases_stops_and_comes_back(cluster: Cluster) -> None:
    cluster.deploy("skerry", "post")
    cluster.call("skerry", "federation.place", app="post", replicas=1, survive="node")
    standby = cluster.standbys("post", "skerry")[0]
    assert cluster.get("skerry", "/put/1", "post")[0] == 200
    cut = cluster.leases / "cut-skerry"
    cut.touch()
    holder = cluster.holder("post", standby)
    until(lambda: cluster.get("skerry", "/", "post")[0] != 200, "the old leader refuses")
    assert cluster.get(holder, "/put/2", "post")[0] != 200, "no standby could have it"
    cut.unlink()
    until(lambda: "skerry" in cluster.standbys("post", holder), "skerry stands by")
    assert cluster.get("skerry", "/put/3", "post")[0] == 200
    assert kept(cluster, "key", "post") >= 2

    cluster.call(holder, "federation.place", app="post", replicas=0)
    assert cluster.standbys("post", holder) == []
    assert cluster.get(holder, "/put/4", "post")[0] == 200
    copies = {each["name"]: each["copies"] for each in cluster.call("skerry", "federation.nodes")}
    assert not any(each.startswith("post") for each in copies["skerry"])


def test_postgres_follows_by_its_own_stream(cluster: Cluster) -> None:
    toml = '[app]\nname = "bank"\n[policy]\njurisdiction = ["EU"]\n[postgres.db]\n'
    upload = cluster.client("holm").upload([pack({"skerry.toml": toml})])
    cluster.call("holm", "app.deploy", upload=upload, branch="main")
    add = "create table if not exists kept (n int primary key); insert into kept values ({})"
    cluster.call("holm", "federation.place", app="bank", replicas=1, survive="node")
    standby = cluster.standbys("bank", "holm")[0]
    # It is made by its first use, and what it is made of has to come, too.
    cluster.sql("holm", add.format(0))
    for number in range(1, 6):
        cluster.sql("holm", add.format(number))

    def read(sql: str) -> str:
        return cluster.sql(standby, sql, replica=True)

    assert read("select pg_is_in_recovery()") == "True", "a hot standby answers"
    until(lambda: read("select count(*) from kept") == "6", "it has caught up")
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        read(add.format(6))
    cluster.sql("holm", add.format(6))
    until(lambda: read("select count(*) from kept") == "7", "it follows while it serves")
    os.killpg(cluster.processes["holm"].pid, signal.SIGKILL)
    cluster.processes["holm"].wait()
    until(lambda: cluster.sql(standby, "select count(*) from kept") == "7", "it was taken over")
    assert cluster.sql(standby, "select max(n) from kept") == "6"
    assert cluster.sql(standby, "select max(n) from kept", through="key") == "6"
