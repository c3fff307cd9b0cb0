"""A provider's parts: capacity, inventory, prices by script, and the check of a manifest."""

from __future__ import annotations

import json
import time
from fractions import Fraction
from pathlib import Path

import pytest
from tests.market.files import GOOD, sdl

from skerry.kernel.errors import SkerryError
from skerry.kernel.money import Rate
from skerry.market.core import prices
from skerry.market.core.messages import Capacity, PriceList
from skerry.market.core.names import LeaseId, OrderId
from skerry.market.core.needs import need
from skerry.market.core.states import LeaseState
from skerry.market.core.terms import Terms
from skerry.market.link import LeaseNotice, OrderNotice
from skerry.market.provider import capacity
from skerry.market.provider.agent import has_gpu
from skerry.market.provider.inventory import Inventory
from skerry.market.provider.manifests import group_of
from skerry.market.provider.pricing import NoPriceError, price_of, request
from skerry.market.provider.workloads import digest_of, name_of, spec_of
from skerry.market.sdl.parse import parse
from skerry.node.gpus import Gpus
from skerry.node.workload import Port

STANDING = PriceList(10_000, 5000, 50, 500_000)


def order(name: str = "smallest", number: int = 1) -> OrderNotice:
    group = parse(GOOD[name]).groups[0]
    each = [prices.times(prices.per_block(u.amount), Fraction(u.count)) for u in group.resources]
    limit = prices.total(each)
    return OrderNotice(OrderId("t", 1, 1, number), group, Terms(), limit)


def test_measures_this_machine(tmp_path: Path) -> None:
    found = capacity.measure(tmp_path, time.monotonic, 50)
    whole = capacity.measure(tmp_path, time.monotonic, 100)
    assert found.cpu_milli >= 100
    assert found.cpu_score > 10
    assert 0 < found.memory_bytes < whole.memory_bytes
    assert found.storage_bytes < whole.storage_bytes


def test_gpus_are_what_their_driver_says(tmp_path: Path) -> None:
    for minor in (0, 1):
        (tmp_path / f"nvidia{minor}").touch()
        folder = tmp_path / f"proc/0000:0{minor}:00.0"
        folder.mkdir(parents=True)
        (folder / "information").write_text(
            f"Model: NVIDIA H100 80GB HBM3\nDevice Minor: {minor}\n"
        )
    for kept, offered in ((0, 2), (1, 1), (2, 0)):
        gpus = Gpus(kept, proc=tmp_path / "proc", devices=tmp_path)
        found = capacity.measure(tmp_path, time.monotonic, gpus=gpus)
        assert found.gpu_units == offered
        assert found.gpu_model == ("NVIDIA H100 80GB HBM3" if offered else "")


@pytest.mark.parametrize(
    ("own", "wanted", "fits"),
    [
        ("NVIDIA H100 80GB HBM3", ["vendor/nvidia/model/h100/ram/80Gi"], True),
        ("NVIDIA H100 80GB HBM3", ["vendor/nvidia/model/*"], True),
        ("NVIDIA A100-SXM4-40GB", ["vendor/nvidia/model/h100"], False),
        ("NVIDIA A100-SXM4-40GB", ["vendor/nvidia/model/a100/ram/80Gi"], False),
        ("NVIDIA A100-SXM4-40GB", ["vendor/nvidia/model/a100/ram/40Gi/interface/sxm"], True),
        ("NVIDIA A100-SXM4-40GB", ["vendor/nvidia/model/a100/interface/pcie"], False),
        ("", ["vendor/nvidia/model/*"], False),
    ],
)
def test_a_gpu_is_offered_by_its_model(own: str, wanted: list[str], fits: bool) -> None:
    assert has_gpu(own, wanted) is fits


def test_nothing_is_sold_twice() -> None:
    inventory = Inventory(Capacity(1000, 1 << 30, 3 << 30))
    one = need(order().group)
    assert inventory.reserve(OrderId("t", 1, 1, 1), one)
    assert inventory.reserve(OrderId("t", 1, 1, 1), one), "the same order counts once"
    assert inventory.reserve(OrderId("t", 2, 1, 1), one)
    assert not inventory.reserve(OrderId("t", 3, 1, 1), one)
    reasons = inventory.obstacles(one)
    assert reasons == [
        "capacity: 500m of cores asked, 0m free",
        "capacity: 512 MiB of memory asked, 0 B free",
    ]
    inventory.release(OrderId("t", 1, 1, 1))
    assert inventory.obstacles(one) == []


async def test_a_price_list_prices() -> None:
    found = await price_of(order(), None, STANDING)
    assert found.cost(3_600_000) == 10_000 // 2 + 5000 // 2 + 50


def script(folder: Path, body: str) -> Path:
    path = folder / "price"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


async def test_a_script_gets_akashs_request(tmp_path: Path) -> None:
    seen = tmp_path / "seen.json"
    body = f'cat > {seen}; echo "$AKASH_OWNER $AKASH_DENOM" > {seen}.env; echo 12.5'
    found = await price_of(order("gpu models"), script(tmp_path, body), STANDING)
    assert found == prices.per_block("12.5")
    given = json.loads(seen.read_text())
    assert (tmp_path / "seen.json.env").read_text() == "t uakt\n"
    assert given["price"]["denom"] == "uakt"
    assert given["price_precision"] == 6
    (resource,) = given["resources"]
    assert resource["cpu"] == 8000
    assert resource["memory"] == 64 << 30
    assert resource["storage"] == [{"class": "ephemeral", "size": 1 << 30}]
    assert resource["gpu"]["units"] == 2
    assert resource["gpu"]["attributes"]["vendor"]["nvidia"]["h100"] == {
        "ram": "80Gi",
        "interface": "sxm",
    }


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("echo 0", "no price above 0"),
        ("echo -3", "no price above 0"),
        ("echo much", "no number"),
        ("echo NaN", "no price above 0"),
        ("echo sorry >&2; exit 3", "ended with 3: sorry"),
        ("echo 999999999", "limit"),
    ],
)
async def test_without_a_price_there_is_no_bid(tmp_path: Path, body: str, why: str) -> None:
    with pytest.raises(NoPriceError) as caught:
        await price_of(order(), script(tmp_path, f"cat > /dev/null; {body}"), STANDING)
    assert why in str(caught.value)


async def test_a_slow_script_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skerry.market.provider.pricing.SCRIPT_SECONDS", 0.2)
    with pytest.raises(NoPriceError, match="did not answer"):
        await price_of(order(), script(tmp_path, "exec sleep 60"), STANDING)


async def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NoPriceError, match="does not start"):
        await price_of(order(), tmp_path / "nothing", STANDING)


def test_the_request_names_endpoints() -> None:
    found = request(order("a leased address"))
    assert found["resources"][0]["endpoint_quantity"] == 4
    assert found["resources"][0]["ip_lease_quantity"] == 2


def notice(text: str) -> LeaseNotice:
    found = parse(text)
    return LeaseNotice(
        id=LeaseId("t", 1, 1, 1, "p"),
        state=LeaseState.ACTIVE,
        price=Rate(1, 1),
        group=found.groups[0],
        terms=Terms(),
        manifest_hash=found.manifest_hash,
        created_at=0,
        funded_until=1_800_000_000_000,
    )


@pytest.mark.parametrize("name", GOOD)
def test_the_agreed_manifest_is_taken(name: str) -> None:
    assert group_of(parse(GOOD[name]).manifest, notice(GOOD[name]))["name"] == "here"


def test_another_manifest_is_refused() -> None:
    other = parse(sdl(services="  web:\n    image: other")).manifest
    with pytest.raises(SkerryError, match="not the one"):
        group_of(other, notice(GOOD["smallest"]))


def test_a_manifest_that_asks_for_more_than_its_order_is_refused() -> None:
    greedy = sdl(resources="cpu: {units: 8}, memory: {size: 64Gi}, storage: {size: 1Gi}")
    announced = parse(greedy)
    agreed = notice(GOOD["smallest"])
    forged = LeaseNotice(
        **{
            **{name: getattr(agreed, name) for name in agreed.__struct_fields__},
            "manifest_hash": announced.manifest_hash,
        }
    )
    with pytest.raises(SkerryError, match="other cpu"):
        group_of(announced.manifest, forged)
    doubled = parse(sdl(deployment="  web:\n    here: {profile: web, count: 2}"))
    forged = LeaseNotice(
        **{
            **{name: getattr(agreed, name) for name in agreed.__struct_fields__},
            "manifest_hash": doubled.manifest_hash,
        }
    )
    with pytest.raises(SkerryError, match="counts"):
        group_of(doubled.manifest, forged)


def test_a_service_becomes_a_workload() -> None:
    text = GOOD["two services of one profile"].replace("proto: udp", "proto: tcp")
    found = parse(text)
    api, web = found.manifest[0]["services"]
    spec = spec_of(web, notice(text), 0)
    assert spec.cpu_millicores == 500
    assert spec.memory_bytes == 512 << 20
    assert spec.hosts == ("shop.example", "*.shop.example")
    assert spec.expires == 1_800_000_000_000 * 1_000_000
    assert spec_of(api, notice(text), 0).env == {"KEY": "value", "OTHER": "x=y"}
    assert spec_of(api, notice(text), 0).ports == ()
    lease = LeaseId("t", 1, 1, 1, "p")
    assert name_of(lease, "web", 0) != name_of(lease, "web", 1)
    assert len(digest_of(["a", "b"])) == 64


def test_udp_ports_are_forwarded_but_not_beside_tcp() -> None:
    expose = "{port: 53, proto: udp, to: [{global: true}]}"
    udp = sdl(services=f"  web:\n    image: a\n    expose: [{expose}]")
    service = parse(udp).manifest[0]["services"][0]
    assert spec_of(service, notice(udp), 0).ports == (Port(number=53, protocol="udp"),)
    both = udp.replace(expose, f"{expose}, {expose.replace('udp', 'tcp')}")
    service = parse(both).manifest[0]["services"][0]
    with pytest.raises(SkerryError, match="by TCP and by UDP"):
        spec_of(service, notice(both), 0)
