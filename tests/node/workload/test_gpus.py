"""GPUs: found by what the driver tells, given to one workload at a time. Fake devices stand in."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.node.workload.scene import ended, need, shell

from skerry.kernel.errors import SkerryError
from skerry.node.gpus import Gpu, Gpus
from skerry.node.workload.supervisor import Workloads

INFORMATION = "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 77\nDevice Minor: \t {minor}\n"


@pytest.fixture
def fake(root: Path) -> Gpus:
    """Give a machine with two GPUs whose devices are zeros, and one whose device is missing."""
    machine = root.parent / "machine"
    machine.mkdir()
    devices = machine / "dev"
    devices.mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl"):
        (devices / name).symlink_to("/dev/zero")
    for minor in (1, 0, 7):
        folder = machine / "gpus" / f"0000:0{minor}:00.0"
        folder.mkdir(parents=True)
        (folder / "information").write_text(INFORMATION.format(minor=minor))
    return Gpus(proc=machine / "gpus", devices=devices)


def test_what_the_driver_tells(fake: Gpus, tmp_path: Path) -> None:
    assert fake.for_workloads() == [
        Gpu("NVIDIA H100 80GB HBM3", 0),
        Gpu("NVIDIA H100 80GB HBM3", 1),
    ]
    assert set(fake.devices_of((1,))) == {"/dev/nvidia1", "/dev/nvidiactl"}
    assert Gpus(proc=tmp_path / "nothing").for_workloads() == []


async def test_each_gpu_is_one_workloads_own(workloads: Workloads, fake: Gpus) -> None:
    await need(workloads, "bwrap")
    workloads.gpus = fake
    look = "cd /dev; echo $(ls -d nvidia*) $(head -c 2 nvidiactl | od -An -tx1); exec sleep 60"
    said = []
    for name in ("one", "two"):
        await workloads.run(shell(look, gpus=1), name)
        async for line in workloads.logs(name, follow_on=True):
            said.append(line.text)
            break
    assert said == ["nvidia0 nvidiactl 00 00", "nvidia1 nvidiactl 00 00"]
    with pytest.raises(SkerryError, match="1 GPUs are asked for, and 0 are free"):
        await workloads.run(shell("true", gpus=1))
    await workloads.remove("one")
    await workloads.run(shell("exec ls /dev/nvidia0", gpus=1, restart="never"), "three")
    await ended(workloads, "three")
    await workloads.run(shell("exec ls /dev/nvidia0", gpus=1, restart="never"), "four")
    await ended(workloads, "four")
    await workloads.run(shell("exec sleep 60", gpus=1), "five")
    with pytest.raises(SkerryError, match="Another workload has the GPU of three"):
        await workloads.restart("three")
    (reason,) = await workloads.reasons(shell("true", gpus=3))
    assert "this machine has 2" in reason
    (reason,) = [
        each
        for each in await workloads.reasons(shell("true", gpus=1, isolation="crun"))
        if "GPU" in each
    ]
    assert "passes no GPU on" in reason
