"""The console's page of nodes."""

from __future__ import annotations

import asyncio
import http.client
import json
from pathlib import Path

from skerry.federation.atlas import HEIGHT, WIDTH, draw
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


def test_no_text_covers_another_node_or_its_text() -> None:
    countries = ("SE", "FI", "NO", "DE", "FR", "US", "SE")
    marks = draw([info(f"{c.lower()}-{n}", c) for n, c in enumerate(countries)]).marks
    boxes = []
    for mark in marks:
        wide = len(mark.text) * 7
        left = mark.text_x - {"start": 0, "middle": wide // 2, "end": wide}[mark.anchor]
        boxes.append((left, mark.text_y - 11, left + wide, mark.text_y))
    for number, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 0 and right <= WIDTH and top >= 0 and bottom <= HEIGHT
        for other in boxes[number + 1 :]:
            apart = right < other[0] or other[2] < left or bottom < other[1] or other[3] < top
            assert apart, (marks[number].text, other)


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
