"""The console's page of nodes."""

from __future__ import annotations

import asyncio
import http.client
import json
from pathlib import Path

from skerry.federation.atlas import draw
from skerry.federation.messages import NodeInfo
from skerry.node.node import Node
from skerry.testing.nodes import deploy

from .conftest import running
from .test_binding import APP, bind


def info(name: str, country: str) -> NodeInfo:
    return NodeInfo(name, "", country, {}, "well", 1.0, "", (), "", name, None)


def test_nodes_stand_where_their_countries_are() -> None:
    drawn = draw([info("se-1", "SE"), info("se-2", "SE"), info("fr-1", "FR"), info("x", "")])
    places = {mark.node.name: (mark.x, mark.y) for mark in drawn.marks}
    assert places["fr-1"][0] < places["se-1"][0], "France is west of Sweden"
    assert places["fr-1"][1] > places["se-1"][1], "and south of it"
    assert places["se-1"] != places["se-2"]
    assert [node.name for node in drawn.elsewhere] == ["x"]
    assert draw([]).marks == ()


def page(node: Node) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=30)
    token = {"Authorization": f"Bearer {node.home.token()}"}
    connection.request("POST", "/v1/logins", "{}", token)
    path = json.loads(connection.getresponse().read())["path"]
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    cookie = str(answer.getheader("set-cookie")).partition(";")[0]
    connection.request("GET", "/nodes", headers={"Cookie": cookie})
    text = connection.getresponse().read().decode()
    connection.close()
    return text


async def test_the_page_shows_every_node(top: Path) -> None:
    async with running(top / "a", "rock") as one, running(top / "b", "skerry", "FR") as other:
        await deploy(other, APP)
        await bind(one, other)
        text = await asyncio.to_thread(page, one)
        assert "skerry · FR · 1 app" in text
        assert "rock · SE" in text
        assert 'hx-sse:connect="/live/nodes"' in text
        assert "shop (kv)" in text
