"""How a program ended, from its exit code and what the kernel says."""

from __future__ import annotations

import signal

from skerry.node.workload.classes.wasm import OUT_OF_FUEL, TRAPPED
from skerry.node.workload.spawn import CANNOT_START
from skerry.node.workload.spec import Exit

_NOT_FOUND = 127
_BY_SIGNAL = 128


def outcome(isolation: str, code: int, out_of_memory: bool) -> Exit:
    """Return how a program ended.

    Runtimes report a signal as 128 and its number. `out_of_memory` says that the kernel killed a
    process of the workload for want of memory.
    """
    if isolation == "wasm" and code == OUT_OF_FUEL:
        return Exit("out-of-fuel", code, "It executed as many instructions as were agreed.")
    if isolation == "wasm" and code == TRAPPED:
        return Exit("exited", code, "The module trapped; its log says why.")
    number = -code if code < 0 else code - _BY_SIGNAL
    if out_of_memory and number == signal.SIGKILL:
        return Exit("out-of-memory", number, "It needed more memory than was agreed.")
    if 0 < number < signal.NSIG:
        return Exit("killed", number, f"Signal {number} ended it.")
    if code in (CANNOT_START, _NOT_FOUND):
        return Exit("exited", code, "The program could not be run; its log says why.")
    return Exit("exited", code)
