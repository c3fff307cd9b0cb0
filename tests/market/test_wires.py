"""Akash's dialects over plain HTTP: the Console's five calls, chain queries, provider gateway."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.market.nodes import SDL, ask, do, market_of, running
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from skerry.market.identity.tokens import Leases, lease_token
from skerry.node.node import Node
from skerry.testing.nodes import open_directory

pytestmark = pytest.mark.slow
CONSOLE = "/market/console/v1"


async def call(node: Node, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    head = {"x-api-key": node.home.token()}
    status, text = await ask(node, method, f"{CONSOLE}{path}", body, **head)
    return status, json.loads(text)


async def test_the_consoles_five_calls() -> None:
    with open_directory() as made:
        async with running(made / "h") as node:
            await do(node, "provider.start", country="FI")
            await do(node, "fund", amount="20")
            assert (await ask(node, "GET", f"{CONSOLE}/bids?dseq=1"))[0] == 401
            status, found = await call(node, "POST", "/deployments", {"data": {"sdl": "x: 1"}})
            assert status == 400
            assert found["type"] == "client_error"
            assert "deploy.yaml:1:1" in found["message"]
            body = {"data": {"sdl": SDL, "deposit": 2.5}}
            status, found = await call(node, "POST", "/deployments", body)
            assert status == 201
            dseq, manifest = found["data"]["dseq"], found["data"]["manifest"]
            bids = []
            for _ in range(100):
                status, found = await call(node, "GET", f"/bids?dseq={dseq}")
                bids = found["data"]
                if bids:
                    break
                await asyncio.sleep(0.05)
            assert bids[0]["bid"]["state"] == "open"
            name = bids[0]["bid"]["id"]
            choice = {key: name[key] for key in ("dseq", "gseq", "oseq", "provider")}
            wrong = {"manifest": manifest, "leases": [choice, {**choice, "gseq": 7}]}
            assert (await call(node, "POST", "/leases", wrong))[0] == 404
            other = {"manifest": "[]", "leases": [choice]}
            assert (await call(node, "POST", "/leases", other))[0] == 409
            assert not market_of(node).exchange.state.leases
            status, found = await call(
                node, "POST", "/leases", {"manifest": manifest, "leases": [choice]}
            )
            assert status == 200, found
            assert found["data"]["leases"][0]["state"] == "active"
            status, found = await call(node, "GET", f"/deployments/{dseq}")
            assert found["data"]["deployment"]["state"] == "active"
            assert found["data"]["escrow_account"]["state"]["funds"][0]["amount"].startswith("2500")
            services = found["data"]["leases"][0]["status"]["services"]
            assert services["web"]["ready"] == 1
            assert (await call(node, "DELETE", f"/deployments/{dseq}"))[1]["data"]["success"]
            status, found = await call(node, "GET", f"/deployments/{dseq}")
            assert found["data"]["deployment"]["state"] == "closed"
            assert (await call(node, "DELETE", f"/deployments/{dseq}"))[0] == 409
            assert (await call(node, "GET", "/deployments/99"))[0] == 404


async def query(node: Node, path: str) -> tuple[int, Any]:
    status, text = await ask(node, "GET", f"/akash{path}")
    return status, json.loads(text)


async def test_chain_queries_are_filtered_and_paged() -> None:
    with open_directory() as made:
        async with running(made / "h") as node:
            await do(node, "provider.start", country="FI", attribute=["tier=a"])
            await do(node, "fund", amount="20")
            for _ in range(3):
                await do(node, "deploy", file=SDL, deposit="1")
            owner = market_of(node).wallet.address
            market = "/market/v1beta5"
            _, found = await query(node, f"{market}/leases/list?filters.owner={owner}")
            assert len(found["leases"]) == 3
            _, found = await query(node, f"{market}/orders/list?filters.dseq=2")
            assert [each["id"]["dseq"] for each in found["orders"]] == ["2"]
            path = f"{market}/bids/list?pagination.limit=2&pagination.count_total=true"
            _, found = await query(node, path)
            assert (len(found["bids"]), found["pagination"]["total"]) == (2, "3")
            key = found["pagination"]["next_key"]
            _, found = await query(node, f"{market}/bids/list?pagination.key={key}")
            assert len(found["bids"]) == 1
            assert found["pagination"]["next_key"] is None
            _, found = await query(node, f"{market}/leases/list?filters.state=closed")
            assert found["leases"] == []
            _, found = await query(node, "/provider/v1beta4/providers")
            keys = {each["key"] for each in found["providers"][0]["attributes"]}
            assert {"tier", "country", "arch"} <= keys
            path = f"/deployment/v1beta4/deployments/info?id.owner={owner}&id.dseq=1"
            _, found = await query(node, path)
            assert found["groups"][0]["group_spec"]["resources"][0]["count"] == 1
            assert "manifest" not in json.dumps(found)
            for path, code in (
                (f"{market}/orders/info?id.owner=x&id.dseq=1&id.gseq=1&id.oseq=1", 5),
                (f"{market}/orders/info?id.owner=x", 3),
                (f"{market}/bids/list?filters.dseq=abc", 3),
                ("/nothing/at/all", 5),
            ):
                status, found = await query(node, path)
                assert status in (400, 404)
                assert found["code"] == code


async def test_the_providers_gateway() -> None:
    with open_directory() as made:
        async with running(made / "h") as node:
            gateway = "/market/provider"
            assert (await ask(node, "GET", f"{gateway}/status"))[0] == 404
            await do(node, "provider.start", country="FI")
            await do(node, "fund", amount="20")
            await do(node, "deploy", file=SDL)
            handler = market_of(node)
            _, text = await ask(node, "GET", f"{gateway}/status")
            assert json.loads(text)["cluster"]["leases"] == 1
            _, text = await ask(node, "GET", f"{gateway}/address")
            assert json.loads(text)["address"] == handler.provider_wallet.address
            token = lease_token(handler.wallet, node.clock)
            head = {"Authorization": f"Bearer {token}"}
            lease = f"{gateway}/lease/1/1/1"
            _, text = await ask(node, "GET", f"{lease}/manifest", **head)
            assert json.loads(text)[0]["services"][0]["env"] == ["GREETING=hello"]
            _, text = await ask(node, "GET", f"{lease}/service/web/status", **head)
            assert json.loads(text)["total"] == 1
            assert (await ask(node, "GET", f"{lease}/service/api/status", **head))[0] == 404
            assert (await ask(node, "GET", f"{gateway}/lease/9/1/1/status", **head))[0] == 404
            socket = f"ws://127.0.0.1:{node.http_port}{lease}"
            await shell(socket, head)
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"{socket}/shell?cmd0=ls&service=web")
            assert refused.value.response.status_code == 401
            narrow = lease_token(handler.wallet, node.clock, Leases("scoped", ["logs"]))
            with pytest.raises(InvalidStatus) as refused:
                await connect(
                    f"{socket}/shell?cmd0=ls&service=web",
                    additional_headers={"Authorization": f"Bearer {narrow}"},
                )
            assert refused.value.response.status_code == 403


async def shell(socket: str, head: dict[str, str]) -> None:
    """Speak the shell's frames: output 100 and 101, the result 102, a failure 103."""
    script = "read line; echo out $line; echo err >&2; exit 7"
    words = urlencode({"cmd0": "/bin/sh", "cmd1": "-c", "cmd2": script})
    async with connect(
        f"{socket}/shell?{words}&service=web&stdin=1&tty=0&podIndex=0", additional_headers=head
    ) as channel:
        await channel.send(bytes([104]) + b"hello\n")
        frames = [frame async for frame in channel]
    assert bytes([100]) + b"out hello\n" in frames
    assert bytes([101]) + b"err\n" in frames
    last = frames[-1]
    assert isinstance(last, bytes)
    assert (last[0], json.loads(last[1:])) == (102, {"exit_code": 7})
    async with connect(f"{socket}/shell?cmd0=ls&service=nope", additional_headers=head) as channel:
        last = [frame async for frame in channel][-1]
    assert isinstance(last, bytes)
    assert last[0] == 103


async def test_pages_of_the_console_are_live() -> None:
    with open_directory() as made:
        async with running(made / "h") as node:
            await do(node, "provider.start", country="FI")
            await do(node, "fund", amount="20")
            await do(node, "deploy", file=SDL)
            token = {"Authorization": f"Bearer {node.home.token()}"}
            status, text = await ask(node, "POST", "/v1/logins", {}, **token)
            cookie = await log_in(node, json.loads(text)["path"])
            head = {"Cookie": cookie}
            for path, words in (
                ("/market", ("At a glance", "balances to zero", 'hx-sse:connect="/live/market"')),
                ("/market/deployments/1", ("Bids and scores", "won", "running")),
                ("/market/invoices/1", ("What was used", "adds up")),
                ("/market/providers", ("In this market", "This machine", "too few leases")),
            ):
                status, text = await ask(node, "GET", path, **head)
                assert status == 200, text
                for word in words:
                    assert word in text, (path, word)
            assert (await ask(node, "GET", "/market/deployments/99", **head))[0] == 404
            assert (await ask(node, "GET", "/market/deployments/x", **head))[0] == 400
            assert (await ask(node, "GET", "/market"))[0] == 303


async def log_in(node: Node, path: str) -> str:
    def exchange() -> str:
        connection = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=20)
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        cookie = answer.getheader("set-cookie") or ""
        connection.close()
        return cookie.partition(";")[0]

    return await asyncio.to_thread(exchange)
