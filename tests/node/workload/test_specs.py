"""What may be ordered, and what is a reason not to run it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.node.workload.scene import need, program

from skerry.kernel.errors import SkerryError
from skerry.node.workload import Mount, Port, WorkloadSpec
from skerry.node.workload.handler import parse_mount, parse_port, parse_size
from skerry.node.workload.spec import check_image_name, check_spec
from skerry.node.workload.supervisor import Workloads


@pytest.mark.parametrize(
    "fields",
    [
        {"cpu_millicores": 0},
        {"memory_bytes": -1},
        {"disk_bytes": 0},
        {"pids": 0},
        {"fuel": 0},
        {"command": ("a\0b",)},
        {"command": ("a",) * 1000},
        {"env": {"A=B": "x"}},
        {"env": {"A": "x\0"}},
        {"env": {"A": "x" * 100_000}},
        {"ports": (Port(0),)},
        {"ports": (Port(80), Port(80, "tcp"))},
        {"ports": (Port(53, "sctp"),)},
        {"hosts": ("shop.*.example",)},
        {"mounts": (Mount("a", "data"),)},
        {"mounts": (Mount("a", "/data/../etc"),)},
        {"mounts": (Mount("a", "/"),)},
        {"mounts": (Mount("a", "/proc/self"),)},
        {"mounts": (Mount("a", "/data"), Mount("b", "/data"))},
        {"mounts": (Mount("../a", "/data"),)},
        {"hosts": ("Shop.example",)},
        {"image": "Shop"},
    ],
)
def test_the_impossible_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(SkerryError) as caught:
        check_spec(WorkloadSpec(**({"image": "host"} | fields)))
    assert caught.value.code == "INVALID"


def test_what_is_secret_is_in_no_repr() -> None:
    spec = WorkloadSpec("host", ("sh", "-p", "word"), env={"PASSWORD": "word"})
    assert "word" not in repr(spec)


@pytest.mark.parametrize(
    "name", ["python", "alpine:3.19", "ghcr.io/a/b:1", "localhost:5000/x", "a@sha256:" + "0" * 64]
)
def test_images_are_named_as_everywhere(name: str) -> None:
    assert check_image_name(name) == name


async def test_every_reason_is_told(workloads: Workloads) -> None:
    assert await workloads.reasons(program("/bin/sh", isolation="vm")) != ()
    (only,) = await workloads.reasons(program(image="nginx:1.27"))
    assert only == "nginx:1.27 is not in this node's catalogue of images."
    await need(workloads, "bwrap")
    assert await workloads.reasons(program("/bin/sh")) == ()
    (only,) = await workloads.reasons(program("/bin/sh", mounts=(Mount("d", "/usr/nowhere/d"),)))
    assert "/usr/nowhere/d" in only
    with pytest.raises(SkerryError) as caught:
        await workloads.run(program("/bin/sh", isolation="vm"))
    assert caught.value.code == "UNSUPPORTED"
    assert await workloads.list() == []


async def test_a_class_that_is_missing_says_what_brings_it(
    workloads: Workloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("bubblewrap", "crun", "gvisor"):
        monkeypatch.setattr(
            f"skerry.node.workload.classes.{module}.find_program", lambda _name: None
        )
    found = {each.name: each for each in await workloads.classes()}
    for name, package in (("bwrap", "bubblewrap"), ("crun", "crun"), ("gvisor", "runsc")):
        assert not found[name].available
        assert found[name].hint == f"apt-get install -y {package}"
    (reason,) = await workloads.reasons(program("/bin/sh"))
    assert "apt-get install -y bubblewrap" in reason


def test_how_amounts_are_written() -> None:
    assert (parse_size("128M"), parse_size("2GiB"), parse_size("7")) == (128 << 20, 2 << 30, 7)
    assert parse_port("80") == Port(80)
    assert parse_port("5432/tcp=15432") == Port(5432, "tcp", 15432)
    assert parse_mount("data:/var/data:ro") == Mount("data", "/var/data", True)
    for parse, text in (
        (parse_size, "much"),
        (parse_port, "http"),
        (parse_mount, "/data"),
        (parse_mount, "a:/data:x"),
    ):
        with pytest.raises(SkerryError):
            parse(text)
