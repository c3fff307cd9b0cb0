"""Class `wasm`: modules that loop, grow, trap, and look for files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.node.workload.scene import ended, program, said

from skerry.kernel.clock import SystemClock
from skerry.node.workload import WorkloadInfo
from skerry.node.workload.importing import Importer
from skerry.node.workload.spec import MIB, Mount, Port
from skerry.node.workload.supervisor import Workloads

wasmtime = pytest.importorskip("wasmtime")

HEAD = """
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 100) "etc/passwd")
"""


async def run(workloads: Workloads, tmp_path: Path, body: str, **fields: Any) -> WorkloadInfo:
    path = tmp_path / "module.wasm"
    path.write_bytes(wasmtime.wat2wasm(f"{HEAD}{body})"))
    Importer(workloads.images, SystemClock()).archive("module", path)
    await workloads.run(program(image="module", isolation="wasm", **fields), "a")
    return await ended(workloads, "a")


async def test_its_exit_code(workloads: Workloads, tmp_path: Path) -> None:
    info = await run(workloads, tmp_path, '(func (export "_start") (call $exit (i32.const 7)))')
    assert info.exit is not None
    assert (info.exit.reason, info.exit.code) == ("exited", 7)


async def test_fuel_ends_a_loop(workloads: Workloads, tmp_path: Path) -> None:
    info = await run(
        workloads, tmp_path, '(func (export "_start") (loop $l (br $l)))', fuel=5_000_000
    )
    assert info.exit is not None
    assert info.exit.reason == "out-of-fuel"


async def test_a_loop_without_fuel_is_stopped(workloads: Workloads, tmp_path: Path) -> None:
    path = tmp_path / "module.wasm"
    path.write_bytes(wasmtime.wat2wasm(f'{HEAD}(func (export "_start") (loop $l (br $l))))'))
    Importer(workloads.images, SystemClock()).archive("module", path)
    await workloads.run(program(image="module", isolation="wasm"), "a")
    info = await workloads.stop_one("a", grace_seconds=0.2)
    assert info.exit is not None
    assert info.exit.reason == "stopped"


async def test_memory_grows_no_further(workloads: Workloads, tmp_path: Path) -> None:
    """The module counts the pages that it gets, and exits with their number over 16."""
    body = """
    (func (export "_start") (local $n i32)
      (block $full (loop $more
        (br_if $full (i32.eq (memory.grow (i32.const 1)) (i32.const -1)))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br $more)))
      (call $exit (i32.div_u (i32.add (local.get $n) (i32.const 1)) (i32.const 16))))
    """
    info = await run(workloads, tmp_path, body, memory_bytes=16 * MIB)
    assert info.exit is not None
    assert (info.exit.reason, info.exit.code) == ("exited", 16)


async def test_there_are_no_files(workloads: Workloads, tmp_path: Path) -> None:
    """No folder is open beforehand, and opening below any descriptor fails (errno 8: bad one)."""
    body = """
    (func $try (param $fd i32) (result i32)
      (call $open (local.get $fd) (i32.const 1) (i32.const 100) (i32.const 10) (i32.const 0)
        (i64.const 2) (i64.const 2) (i32.const 0) (i32.const 200)))
    (func (export "_start") (local $fd i32)
      (if (i32.eqz (call $prestat (i32.const 3) (i32.const 300))) (then (call $exit (i32.const 1))))
      (loop $next
        (if (i32.eqz (call $try (local.get $fd))) (then (call $exit (i32.const 2))))
        (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $fd) (i32.const 64))))
      (call $exit (i32.const 42)))
    """
    info = await run(workloads, tmp_path, body)
    assert info.exit is not None
    assert info.exit.code == 42, await said(workloads, "a", "stderr")


async def test_a_trap_is_told(workloads: Workloads, tmp_path: Path) -> None:
    info = await run(workloads, tmp_path, '(func (export "_start") unreachable)')
    assert info.exit is not None
    assert not info.exit.clean
    assert "unreachable" in " ".join(await said(workloads, "a", "stderr"))


async def test_what_the_class_cannot_is_a_reason(workloads: Workloads, tmp_path: Path) -> None:
    path = tmp_path / "module.wasm"
    path.write_bytes(wasmtime.wat2wasm(f'{HEAD}(func (export "_start")))'))
    Importer(workloads.images, SystemClock()).archive("module", path)
    spec = program(
        image="module", isolation="wasm", ports=(Port(80),), mounts=(Mount("d", "/data"),)
    )
    assert len(await workloads.reasons(spec)) == 2
    assert await workloads.reasons(program("/bin/sh", isolation="wasm"))
    assert await workloads.reasons(program(image="module"))
