"""What official clients hear of a sleeping branch, with wrong credentials and with right ones."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import boto3
import httpx
import pytest
import pytest_asyncio
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from skerry.app import kinds
from skerry.kernel.commands import Connections
from skerry.node.node import Node
from skerry.testing.nodes import deploy, perform, running_node

pytestmark = pytest.mark.asyncio(loop_scope="module")
TOML = '[app]\nname = "quiet"\n\n[kv.sessions]\n\n[sqlite.search]\n\n[bucket.media]\n'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Node]:
    async with running_node(kinds()) as running:
        await deploy(running, {"skerry.toml": TOML})
        yield running


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def asleep(node: Node) -> None:
    await perform(node, "branch.sleep", app="quiet", branch="main")
    assert not awake(node)


def awake(node: Node) -> bool:
    return bool(node.supervisor.awake())


async def fields(node: Node, name: str) -> dict[str, str]:
    found = await perform(node, "resource.connect", name=name, app="quiet", branch="main")
    assert isinstance(found, Connections)
    return dict(found.fields)


def by_path(node: Node, name: str) -> str:
    """Return a URL that needs no name service."""
    return f"http://127.0.0.1:{node.http_port}/@quiet/main/@{name}"


async def heard(work: Callable[[], Any]) -> Any:
    """Return what a blocking client says, or its error."""
    try:
        return await asyncio.to_thread(work)
    except ClientError as error:
        return error


def s3(place: dict[str, str], secret: str = "", **settings: Any) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=place["url"],
        region_name="us-east-1",
        aws_access_key_id=place["access_key"],
        aws_secret_access_key=secret or place["secret_key"],
        config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}, **settings),
    )


def code(error: Any) -> tuple[int, str, str]:
    assert isinstance(error, ClientError), error
    told = error.response
    status = told["ResponseMetadata"]["HTTPStatusCode"]
    return status, told["Error"]["Code"], told["Error"]["Message"]


async def test_boto3(node: Node) -> None:
    place = await fields(node, "media")
    wrong, right = s3(place, "x" * 40), s3(place)
    named = {"Bucket": "media", "Key": "k"}
    url = wrong.generate_presigned_url("get_object", Params=named, ExpiresIn=60)
    old = right.generate_presigned_url("get_object", Params=named, ExpiresIn=-60)
    asked: list[Callable[[], Any]] = [
        wrong.list_buckets,
        lambda: wrong.put_object(**named, Body=b"x" * 100_000),
        lambda: wrong.head_object(**named),
    ]
    async with httpx.AsyncClient() as raw:
        refused = [code(await heard(each)) for each in asked]
        links = [(await raw.get(each)).status_code for each in (url, old)]
        assert refused[0][:2] == refused[1][:2] == (403, "SignatureDoesNotMatch")
        assert (refused[2][:2], links) == ((403, "403"), [403, 403])
        assert not awake(node)
        await heard(lambda: right.put_object(**named, Body=b"value"))
        assert awake(node)
        assert [code(await heard(each)) for each in asked] == refused
        assert [(await raw.get(each)).status_code for each in (url, old)] == links
        await perform(node, "branch.sleep", app="quiet", branch="main")
        good = right.generate_presigned_url("get_object", Params=named, ExpiresIn=60)
        assert (await raw.get(good)).content == b"value"
    wrong.close()
    right.close()


async def test_boto3_without_a_signature_is_the_buckets_to_answer(node: Node) -> None:
    place = await fields(node, "media") | {"url": by_path(node, "media")}
    client = s3(place, signature_version=UNSIGNED)
    status, name, _ = code(await heard(lambda: client.get_object(Bucket="media", Key="k")))
    assert (status, name, awake(node)) == (403, "AccessDenied", True)
    client.close()


SELECT = """
import sys
import libsql
for token in sys.stdin.read().split():
    try:
        found = libsql.connect(sys.argv[1], auth_token=token).execute("select 41 + 1").fetchone()
    except ValueError as error:
        found = error
    sys.stdout.write(f"{found}\\n")
"""


async def test_libsql(node: Node) -> None:
    token = (await fields(node, "search"))["token"]

    async def select(*tokens: str) -> list[str]:
        """Ask in a process of its own: the client blocks every thread of the one it runs in."""
        command = (sys.executable, "-c", SELECT, by_path(node, "search"))
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        async with asyncio.timeout(30):
            output, _ = await process.communicate("\n".join(tokens).encode())
        return output.decode().splitlines()

    refused = await select(f"{token}x")
    assert "401" in refused[0]
    assert not awake(node)
    assert await select(token, f"{token}x") == ["(42,)", *refused]
    assert awake(node)


async def test_probes_and_d1_of_a_sleeping_database(node: Node) -> None:
    place = await fields(node, "search")
    path = f"/client/v4/accounts/quiet/d1/database/{place['database_id']}/query"
    async with httpx.AsyncClient(base_url=by_path(node, "search")) as client:

        async def ask() -> list[tuple[int, str, str | None]]:
            answers = [
                await client.get("/v3"),
                await client.get("/v2/pipeline"),
                await client.post(path, json={"sql": "select 1"}),
            ]
            return [(x.status_code, x.text, x.headers.get("www-authenticate")) for x in answers]

        asleep = await ask()
        assert [status for status, _, _ in asleep] == [200, 401, 401]
        assert not awake(node)
        client.headers["Authorization"] = f"Bearer {place['token']}"
        assert (await client.post(path, json={"sql": "select 1"})).json()["success"]
        del client.headers["Authorization"]
        assert await ask() == asleep


async def test_cloudflares_api(node: Node) -> None:
    place = await fields(node, "sessions")
    base = f"{place['url']}/client/v4/accounts/{place['app']}/storage/kv/namespaces"
    base += f"/{place['namespace_id']}"
    wrong = {"Authorization": f"Bearer {place['token'][:-1]}"}
    right = {"Authorization": f"Bearer {place['token']}"}
    async with httpx.AsyncClient() as client:

        async def ask() -> list[tuple[int, Any]]:
            answers = [
                await client.get(f"{base}/keys", headers=wrong),
                await client.put(f"{base}/values/k", content=b"x" * 200_000, headers=wrong),
                await client.get(f"{base}/keys"),
            ]
            return [(each.status_code, each.json()) for each in answers]

        asleep = await ask()
        assert {status for status, _ in asleep} == {401}
        assert asleep[0][1]["errors"][0]["code"] == 10000
        assert not awake(node)
        put = await client.put(f"{base}/values/k", content=b"value", headers=right)
        assert put.json()["success"]
        assert awake(node)
        assert await ask() == asleep
        await perform(node, "branch.sleep", app="quiet", branch="main")
        assert (await client.get(f"{base}/values/k", headers=right)).content == b"value"
