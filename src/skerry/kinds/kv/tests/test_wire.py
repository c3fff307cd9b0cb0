"""The REST API, by Cloudflare's own client and by hand."""

from __future__ import annotations

import asyncio
from typing import Any

import cloudflare
import httpx
import pytest
from cloudflare import AsyncCloudflare

from skerry.kernel.kind import Head
from skerry.kinds.kv.claim import claim

NAMESPACE = "0" * 16 + "00000000deadbeef"
BASE = f"/client/v4/accounts/acme/storage/kv/namespaces/{NAMESPACE}"


@pytest.fixture
async def raw(port: int, bearer: str) -> Any:
    headers = {"authorization": f"Bearer {bearer}"}
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
        yield client


async def test_the_official_client(port: int, bearer: str) -> None:
    options: dict[str, Any] = {"account_id": "acme", "namespace_id": NAMESPACE}
    async with httpx.AsyncClient(trust_env=False) as http:
        client = AsyncCloudflare(
            base_url=f"http://127.0.0.1:{port}/client/v4", api_token=bearer, http_client=http
        )
        values = client.kv.namespaces.values
        await values.update("a/b é", **options, value=b"hello", metadata='{"n": 1}')
        assert await (await values.get("a/b é", **options)).read() == b"hello"
        assert await client.kv.namespaces.metadata.get("a/b é", **options) == {"n": 1}
        await client.kv.namespaces.bulk_update(
            **options,
            body=[
                {"key": "k1", "value": "1"},
                {"key": "k2", "value": "AP8=", "base64": True, "expiration_ttl": 60},
            ],
        )
        assert await (await values.get("k2", **options)).read() == b"\x00\xff"
        keys = [key async for key in client.kv.namespaces.keys.list(**options, prefix="k")]
        assert [key.name for key in keys] == ["k1", "k2"]
        assert keys[1].expiration is not None
        many: Any = await client.kv.namespaces.bulk_get(**options, keys=["k1", "none"])
        assert many.values == {"k1": "1", "none": None}
        await client.kv.namespaces.bulk_delete(**options, body=["k1", "k2"])
        await values.delete("a/b é", **options)
        assert not [key async for key in client.kv.namespaces.keys.list(**options)]
        with pytest.raises(cloudflare.NotFoundError):
            await values.get("k1", **options)
        found = [each async for each in client.kv.namespaces.list(account_id="acme")]
        assert [each.id for each in found] == [NAMESPACE]


async def test_pages_have_cursors(raw: httpx.AsyncClient) -> None:
    items = [{"key": f"k{number:03}", "value": ""} for number in range(25)]
    assert (await raw.put(f"{BASE}/bulk", json=items)).json()["success"]
    names, cursor = [], ""
    for _ in range(3):
        page = (await raw.get(f"{BASE}/keys", params={"limit": 10, "cursor": cursor})).json()
        names += [key["name"] for key in page["result"]]
        cursor = page["result_info"]["cursor"]
    assert names == [item["key"] for item in items]
    assert cursor == ""


async def test_a_form_keeps_every_byte(raw: httpx.AsyncClient) -> None:
    value = b"\r\n--x\r\n\x00\xff\r\n"
    await raw.put(f"{BASE}/values/k", files={"value": value}, data={"metadata": "[1]"})
    assert (await raw.get(f"{BASE}/values/k")).content == value
    assert (await raw.get(f"{BASE}/metadata/k")).json()["result"] == [1]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nowhere", b"", 404),
        ("GET", f"{BASE}/values/none", b"", 404),
        ("PATCH", f"{BASE}/values/none", b"", 405),
        ("GET", f"{BASE}/keys?limit=5000", b"", 400),
        ("GET", f"{BASE}/keys?limit=x", b"", 400),
        ("GET", f"{BASE}/keys?cursor=x", b"", 400),
        ("PUT", f"{BASE}/bulk", b"\xff garbage", 400),
        ("PUT", f"{BASE}/bulk", b'[{"key": 1}]', 400),
        ("POST", f"{BASE}/bulk/get", b"[]", 400),
        ("PUT", f"{BASE}/values/k?expiration_ttl=0", b"x", 400),
        ("PUT", f"{BASE}/values/k?expiration=1", b"x", 400),
        ("PUT", f"{BASE}/values/" + "k" * 513, b"x", 413),
        ("GET", f"{BASE}/values/%ff", b"", 400),
        ("GET", BASE.replace("deadbeef", "deadbee0") + "/keys", b"", 404),
        ("POST", "/client/v4/accounts/a/storage/kv/namespaces", b"{}", 405),
    ],
)
async def test_bad_requests_get_an_envelope(
    raw: httpx.AsyncClient, method: str, path: str, body: bytes, status: int
) -> None:
    answer = await raw.request(method, path, content=body)
    assert answer.status_code == status
    shape = answer.json()
    assert shape["success"] is False
    assert shape["errors"][0]["message"]
    assert (await raw.get(f"{BASE}/keys")).json()["result"] == []


async def test_only_the_token_opens(raw: httpx.AsyncClient, bearer: str) -> None:
    for wrong in ("", "Bearer", f"Basic {bearer}", f"Bearer {bearer}x", "Bearer skt_é_x"):
        headers = httpx.Headers({"authorization": wrong}, encoding="utf-8")
        answer = await raw.get(f"{BASE}/keys", headers=headers)
        assert answer.status_code == 401


async def test_garbage_closes_one_connection_only(port: int, raw: httpx.AsyncClient) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(bytes(range(256)) * 40)
    await writer.drain()
    await reader.read()
    writer.close()
    assert (await raw.get(f"{BASE}/keys")).status_code == 200


def test_a_request_is_claimed_by_path_or_token() -> None:
    def head(path: str, token: str = "") -> Head:
        headers = ((b"authorization", token.encode()),) if token else ()
        return Head(b"GET", path.encode(), b"", headers)

    assert claim(head(f"{BASE}/keys")) == "00000000deadbeef"
    assert claim(head(BASE)) == "00000000deadbeef"
    assert claim(head("/x", "Bearer skt_00000000deadbeef_abc")) == "00000000deadbeef"
    assert claim(head("/x", "Bearer other")) is None
    assert claim(head("/client/v4/accounts/a/storage/kv/namespaces/" + "1" * 32)) is None
