"""Class `wasm`: one WebAssembly module by wasmtime, without files, network and system calls.

The module runs in a process of its own that is confined like a function's. Its memory is bounded
by the engine to the byte, its instructions by fuel, its time on a CPU by the cgroup. It gets
arguments, environment, standard output and error, clocks and random numbers (WASI preview 1), and
nothing else.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from typing import Any

from skerry.node.sandbox import Confinement, Limits, confine
from skerry.node.workload.classes.base import Launch, Place, Program, missing, needs_no_gpu
from skerry.node.workload.images import Image
from skerry.node.workload.order import Order
from skerry.node.workload.spec import MIB, ClassInfo, WorkloadSpec

MODULE = "module.cwasm"
"""The compiled module within an image's folder."""

OVERHEAD_BYTES = 96 * MIB
"""What the engine's own process may use beside the module's memory."""

OVERHEAD_PIDS = 16
OUT_OF_FUEL = 125
TRAPPED = 124
_ALL_FUEL = 1 << 62
_HINT = "pip install 'skerry[workloads]'"


class Wasm:
    """See the module."""

    name = "wasm"
    summary = "A WebAssembly module: no files, no network, no system calls; bounded instructions."

    def probe(self, user: int | None) -> ClassInfo:
        """See `IsolationClass.probe`."""
        if importlib.util.find_spec("wasmtime") is None:
            return missing(self, "wasmtime is not installed.", _HINT)
        return ClassInfo(self.name, True, self.summary)

    def reasons(self, spec: WorkloadSpec, image: Image) -> Iterator[str]:
        """See `IsolationClass.reasons`."""
        if image.kind != "wasm":
            yield f"{image.name} is no WebAssembly module, and class wasm runs nothing else"
        yield from needs_no_gpu(self, spec)
        if spec.ports:
            yield "class wasm has no network, so no port can be exposed"
        if spec.mounts:
            yield "class wasm has no files, so nothing can be mounted"

    def launch(self, order: Order, place: Place) -> Launch:
        """See `IsolationClass.launch`."""
        limits = Limits(
            memory_bytes=order.spec.memory_bytes + OVERHEAD_BYTES,
            processes=order.spec.pids + OVERHEAD_PIDS,
            cpu_cores=order.spec.cpu_millicores / 1000,
            open_files=64,
            file_bytes=order.spec.memory_bytes + OVERHEAD_BYTES,
        )
        return Launch(work=lambda: _run(order, place, limits), uid=order.uid, limits=limits)

    def owner(self, order: Order) -> int | None:
        """See `IsolationClass.owner`."""
        return order.uid

    def session_argv(self, order: Order, place: Place, program: Program) -> list[str] | None:
        """See `IsolationClass.session_argv`: there is nothing inside that could run a program."""
        return []

    def end(self, order: Order, place: Place) -> None:
        """See `IsolationClass.end`."""


def make_engine() -> Any:
    """Return the engine that compiles and runs every module; its settings are part of the code."""
    from wasmtime import Config, Engine  # noqa: PLC0415 (large, and an extra)

    config = Config()
    config.consume_fuel = True
    config.wasm_threads = False
    return Engine(config)


def compile_module(source: bytes) -> bytes:
    """Return the machine code of a module. Raises `wasmtime.WasmtimeError` if it is none."""
    from wasmtime import Module  # noqa: PLC0415

    return bytes(Module(make_engine(), source).serialize())


def _run(order: Order, place: Place, limits: Limits) -> None:
    """Run the module in this process, which was forked for it; never returns."""
    import wasmtime  # noqa: PLC0415

    code = (place.rootfs / MODULE).read_bytes()
    confine(
        Confinement(
            uid=order.uid,
            gid=order.uid,
            account="",
            system=False,
            read=("/dev/urandom",),
            limits=limits,
            cgroup=place.membership,
        )
    )
    engine = make_engine()
    store = wasmtime.Store(engine)
    store.set_fuel(order.spec.fuel or _ALL_FUEL)
    store.set_limits(memory_size=order.spec.memory_bytes, instances=1, memories=1, tables=8)
    wasi = wasmtime.WasiConfig()
    wasi.argv = [order.name, *order.argv]
    wasi.env = list(order.env.items())
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    store.set_wasi(wasi)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    try:
        module = wasmtime.Module.deserialize(engine, code)
        begin = linker.instantiate(store, module).exports(store)["_start"]
        if not isinstance(begin, wasmtime.Func):
            raise KeyError("_start")
        begin(store)
    except wasmtime.ExitTrap as ended:
        os._exit(ended.code & 0xFF)
    except wasmtime.Trap as trap:
        _say(str(trap.message))
        os._exit(OUT_OF_FUEL if trap.trap_code == wasmtime.TrapCode.OUT_OF_FUEL else TRAPPED)
    except (wasmtime.WasmtimeError, KeyError) as error:
        _say(f"the module cannot be run: {error}")
        os._exit(TRAPPED)
    os._exit(0)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
