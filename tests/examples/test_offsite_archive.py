"""The archive example between nodes of two owners: archived, dropped, queried, drilled."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest

from skerry.app import kinds
from skerry.kernel.errors import SkerryError
from skerry.node.node import Node
from skerry.node.scheduler import Scheduler
from skerry.testing.nodes import deploy, pack, perform, running_node

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "offsite_archive"
pytestmark = pytest.mark.timeout(120)

HOURLY, NIGHTLY = "5 * * * *", "35 2 * * *"
START = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def held_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be due by itself: the tests say what runs, and for which moment."""
    monkeypatch.setattr(Scheduler, "tick", lambda _: None)


def packed(policy: str) -> bytes:
    files = {}
    for path in sorted(EXAMPLE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            files[path.relative_to(EXAMPLE).as_posix()] = path.read_bytes()
    files["skerry.toml"] = files["skerry.toml"].replace(b'"encrypted-only"', policy.encode())
    return pack(files)


async def serve(node: Node, policy: str = '"encrypted-only"') -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield packed(policy)

    await perform(node, "app.deploy", upload=await node.archives.receive(chunks()), branch="main")


async def trigger(node: Node, function: str, cron: str, moment: datetime) -> None:
    call = {"app": "telemetry", "name": function, "cron": cron, "time": moment.isoformat()}
    await perform(node, "functions.trigger", **call)


async def ask(node: Node, method: str, path: str) -> tuple[int, str]:
    def exchange() -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=30)
        connection.request(method, path, headers={"Host": "telemetry.localhost"})
        answer = connection.getresponse()
        found = answer.status, answer.read().decode()
        connection.close()
        return found

    return await asyncio.to_thread(exchange)


async def query(node: Node, since: datetime, until: datetime) -> list[dict[str, Any]]:
    given = {"metric": "load1", "since": since.isoformat(), "until": until.isoformat()}
    status, text = await ask(node, "GET", f"/query?{urlencode(given)}")
    assert status == 200, text
    found: list[dict[str, Any]] = json.loads(text)
    return found


async def secrets(node: Node, door: dict[str, str]) -> None:
    values = {
        "ARCHIVE_STORE": f"{door['url']}/{door['bucket']}",
        "ARCHIVE_ACCESS_KEY": door["access_key"],
        "ARCHIVE_SECRET_KEY": door["secret_key"],
        "ARCHIVE_KEY": "a key that stays here",
    }
    for name, value in values.items():
        await perform(node, "secret.set", app="telemetry", name=name, value=value)


async def fill(node: Node, hours: int) -> None:
    """Sample four times an hour; then archive as the clock would have it, two days later too."""
    for number in range(hours * 4):
        await trigger(node, "collector", "", START + timedelta(minutes=15 * number))
    end = START + timedelta(hours=hours)
    await trigger(node, "archiver", HOURLY, end - timedelta(minutes=1))
    await trigger(node, "archiver", HOURLY, end + timedelta(minutes=5))


@pytest.mark.slow
async def test_telemetry_is_archived_queried_in_place_and_drilled() -> None:
    async with running_node(kinds()) as other, running_node(kinds()) as node:
        await deploy(other, {"skerry.toml": '[app]\nname = "vault"\n\n[bucket.box]\n'})
        door = (await perform(other, "resource.connect", app="vault", name="box")).fields
        await serve(node)
        await secrets(node, door)
        await serve(node, '"refused"')
        with pytest.raises(SkerryError) as refused:
            await fill(node, 3)
        assert "archive:send" in refused.value.why
        await serve(node)
        await trigger(node, "archiver", HOURLY, START + timedelta(hours=3, minutes=5))
        end = START + timedelta(hours=3)
        before = await query(node, START, end)
        assert [(each["where"], each["count"]) for each in before] == [("postgres", 4)] * 3
        s3 = boto3.client(
            "s3",
            endpoint_url=door["url"],
            aws_access_key_id=door["access_key"],
            aws_secret_access_key=door["secret_key"],
            region_name="us-east-1",
        )
        listed = await asyncio.to_thread(s3.list_objects_v2, Bucket=door["bucket"])
        keys = [each["Key"] for each in listed["Contents"]]
        assert keys == [f"telemetry/2026/11/20/{hour}.ndjson.gz.sealed" for hour in (10, 11, 12)]

        def body() -> bytes:
            found: bytes = s3.get_object(Bucket=door["bucket"], Key=keys[0])["Body"].read()
            return found

        assert b"load1" not in await asyncio.to_thread(body)

        await trigger(node, "archiver", HOURLY, end + timedelta(days=2))
        left = await perform(
            node,
            "postgres.sql",
            app="telemetry",
            name="db",
            statement="SELECT count(*) FROM samples",
        )
        assert left.rows == [[0]]
        after = await query(node, START, end)
        assert [each["where"] for each in after] == ["archive"] * 3
        assert [{**each, "where": ""} for each in after] == [
            {**each, "where": ""} for each in before
        ]
        part = await query(node, START + timedelta(minutes=30), START + timedelta(hours=1))
        assert [each["count"] for each in part] == [2]

        await trigger(node, "archiver", NIGHTLY, end)
        status, page = await ask(node, "GET", "/")
        assert status == 200
        assert "rows of 3 hours came back" in page
        assert ", proven." in page
        await asyncio.to_thread(s3.put_object, Bucket=door["bucket"], Key=keys[1], Body=b"x" * 99)
        status, text = await ask(node, "POST", "/drill")
        assert json.loads(text)["problems"][0].startswith(keys[1])
        assert "NOT PROVEN" in (await ask(node, "GET", "/"))[1]
        s3.close()


@pytest.mark.slow
@pytest.mark.skipif("SKERRY_ARCHIVE_STORE" not in os.environ, reason="no store is named")
async def test_the_archive_at_a_provider() -> None:
    store, _, bucket = os.environ["SKERRY_ARCHIVE_STORE"].rpartition("/")
    door = {
        "url": store,
        "bucket": bucket,
        "access_key": os.environ["SKERRY_ARCHIVE_ACCESS_KEY"],
        "secret_key": os.environ["SKERRY_ARCHIVE_SECRET_KEY"],
    }
    async with running_node(kinds()) as node:
        await serve(node)
        await secrets(node, door)
        await serve(node)
        await fill(node, 1)
        status, text = await ask(node, "POST", "/drill")
        assert (status, json.loads(text)["problems"]) == (200, [])
