"""Two stores, policy, the timetable, retention, the console, and what a crash leaves."""

from __future__ import annotations

import asyncio
import getpass
import http.client
import json
import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest
from tests.backup.conftest import SHOP, STORE, backup_of, node_at
from tests.ports import free_port

from skerry.kernel.errors import SkerryError
from skerry.node.backup.index import Scope
from skerry.node.backup.timetable import Job
from skerry.node.node import Node
from skerry.testing.nodes import deploy, perform

pytestmark = pytest.mark.timeout(240)

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
PRIVATE = '[app]\nname = "private"\n\n[kv.cache]\n'
PLANNED = SHOP + '\n[backup]\nschedule = "5 * * * *"\ndrill = "never"\nkeep = "1d"\n'
WRONG = PLANNED.replace("5 * * * *", "whenever")


async def put(node: Node, app: str, value: str) -> None:
    await perform(node, "kv.put", app=app, name="cache", key="a", value=value)


@pytest.mark.slow
async def test_two_stores_one_with_locked_objects_and_only_what_policy_lets_out(
    place: Path,
) -> None:
    async with node_at(place / "other", "other-node") as other, node_at(place / "h") as node:
        await deploy(other, {"skerry.toml": STORE})
        door = (await perform(other, "resource.connect", app="store", name="box")).fields
        await deploy(node, {"skerry.toml": PRIVATE})
        await put(node, "private", "here")
        given = {"access_key": door["access_key"], "secret_key": door["secret_key"]}
        away = {"url": "s3://locked/skerry", "endpoint": door["url"], **given}
        await perform(node, "backup.to", url=str(place / "store"))
        with pytest.raises(SkerryError, match="Policy does not allow backup:send") as caught:
            await perform(node, "backup.to", second=True, object_lock_days=1, **away)
        assert caught.value.code == "DENIED"
        await deploy(node, {"skerry.toml": SHOP})
        await put(node, "shop", "there")
        target = await perform(node, "backup.to", second=True, object_lock_days=1, **away)
        assert target.left_out[0].startswith("private: ")
        saved = await perform(node, "backup.now")
        assert [(each.store, bool(each.left_out)) for each in saved] == [
            ("primary", False),
            ("second", True),
        ]
        for name, apps in (("primary", {"shop", "private"}), ("second", {"shop"})):
            repository = await backup_of(node).stores.repository(name)
            (snapshot,) = await repository.snapshots()
            index = await repository.index(snapshot.id)
            assert {each.app for each in index.branches} == apps
        with pytest.raises(SkerryError, match="Policy does not allow"):
            await perform(node, "backup.now", app="private")
        s3 = boto3.client(
            "s3",
            endpoint_url=door["url"],
            region_name="us-east-1",
            aws_access_key_id=given["access_key"],
            aws_secret_access_key=given["secret_key"],
        )
        versions = await asyncio.to_thread(s3.list_object_versions, Bucket="locked")
        pack = next(each for each in versions["Versions"] if "/data/" in each["Key"])
        with pytest.raises(s3.exceptions.ClientError, match=r"AccessDenied|locked|Object Lock"):
            await asyncio.to_thread(
                s3.delete_object, Bucket="locked", Key=pack["Key"], VersionId=pack["VersionId"]
            )
        s3.close()
        drills = await perform(node, "backup.drill", app="shop", store="second")
        assert drills.exit_code == 0


@pytest.mark.slow
async def test_what_is_due_runs_is_kept_and_is_shown(place: Path) -> None:
    async with node_at(place / "h") as node:
        await deploy(node, {"skerry.toml": PLANNED})
        await put(node, "shop", "one")
        with pytest.raises(SkerryError, match=r"backup.schedule"):
            await deploy(node, {"skerry.toml": WRONG})
        service = backup_of(node)
        minute = datetime(2026, 11, 27, 10, 5, tzinfo=UTC)
        assert service.timetable.due(minute) == []
        await perform(node, "backup.to", url=str(place / "store"))
        with pytest.raises(SkerryError, match="no span"):
            await perform(node, "backup.schedule", keep="2")
        plan = await perform(node, "backup.schedule", schedule="5 10 * * *", drill="5 10 * * *")
        assert plan.schedule == "5 10 * * *"
        due = service.timetable.due(minute)
        assert [(str(job.scope), job.drill) for job in due] == [
            ("node", False),
            ("app:shop", False),
            ("node", True),
        ]
        for job in due:
            await service.perform(Job(job.scope, job.plan, job.drill))
        assert set(service.record.history.tidied) == {("primary", "node"), ("primary", "app:shop")}
        assert service.record.history.checked["primary"].part == 0
        await service.runs.settle()
        status = await perform(node, "backup.status")
        assert status.ok, status
        assert status.draw(80).startswith("Backups: well")
        assert "Everything is well." in await page(node, "/backup")
        branch = await perform(node, "branch.create", app="shop", name="drill-left")
        (place / "h" / "services" / "backup" / "scratch" / "shop.drill-left").touch()
        assert branch.name in node.catalogue.app("shop").branches
    async with node_at(place / "h") as node:
        assert list(node.catalogue.app("shop").branches) == ["main"]
        assert (await perform(node, "backup.status")).ok
        assert Scope() in {scope for scope, _ in backup_of(node).plans()}


@pytest.mark.slow
@pytest.mark.skipif(SSHD is None, reason="there is no sshd: apt-get install openssh-server")
async def test_an_sftp_server_keeps_backups(place: Path) -> None:
    port = free_port()
    for name in ("host", "client"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name)]
        await asyncio.to_thread(subprocess.run, words, check=True)
    (place / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {place}/host\nPidFile none\n"
        f"AuthorizedKeysFile {place}/client.pub\nStrictModes no\nUsePAM no\n"
        "Subsystem sftp internal-sftp\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen(
        [str(SSHD), "-D", "-f", str(place / "sshd_config"), "-E", "/dev/null"]
    )
    try:
        async with node_at(place / "h") as node:
            await deploy(node, {"skerry.toml": SHOP})
            await put(node, "shop", "far away")
            user = getpass.getuser()
            url = f"sftp://{user}@127.0.0.1:{port}/{place}/store"
            await reachable(port)
            await perform(node, "backup.to", url=url, identity=str(place / "client"))
            await perform(node, "backup.now")
            restored = await perform(node, "backup.restore", app="shop", as_branch="back")
            assert restored.files > 0
    finally:
        server.terminate()
        server.wait(10)


async def reachable(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return


async def page(node: Node, path: str) -> str:
    def exchange(
        method: str, target: str, body: str | None, **headers: str
    ) -> http.client.HTTPMessage:
        connection = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=20)
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        texts.append(answer.read().decode())
        connection.close()
        return answer.headers

    texts: list[str] = []
    token = {"Authorization": f"Bearer {node.home.token()}"}
    await asyncio.to_thread(exchange, "POST", "/v1/logins", "{}", **token)
    headers = await asyncio.to_thread(exchange, "GET", json.loads(texts[-1])["path"], None)
    cookie = headers["set-cookie"].partition(";")[0]
    await asyncio.to_thread(exchange, "GET", path, None, Cookie=cookie)
    return texts[-1]
