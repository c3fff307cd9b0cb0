"""Run a function in the sandbox, in a child, and tell what came of it."""

from __future__ import annotations

import errno
import os
import pickle
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import skerry.kernel.errors
from skerry.node.sandbox import Confinement, confine, expose
from skerry.node.sandbox import landlock as landlock_module

ROOT = os.geteuid() == 0
APP = {"uid": 700_101, "gid": 700_101} if ROOT else {}
SOURCE = Path(skerry.kernel.errors.__file__).parents[2]
PYTHON = tuple(dict.fromkeys((sys.prefix, sys.base_prefix, str(SOURCE))))

needs_landlock = pytest.mark.skipif(
    not landlock_module.abi(), reason="this kernel has no Landlock; file permissions alone hold"
)


def start(confinement: Confinement, action: Callable[[], Any]) -> tuple[int, int]:
    """Run `action` in a confined child; return its id and a pipe with what came of it."""
    reader, writer = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    outcome: tuple[str, Any] = ("failed", "confine")
    try:
        if ROOT:
            expose(PYTHON)
            os.setgroups([0, 4])
        confine(confinement, parent=parent)
        outcome = ("ok", action())
    except OSError as error:
        outcome = ("errno", error.errno)
    except BaseException as error:
        outcome = ("failed", repr(error))
    finally:
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(outcome, pipe)
        os._exit(0)
    raise AssertionError


def finish(child: int, reader: int) -> tuple[str, Any]:
    with os.fdopen(reader, "rb") as pipe:
        ready, _, _ = select.select([pipe], [], [], 30)
        if not ready:
            os.kill(child, signal.SIGKILL)
        content = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return pickle.loads(content) if content else ("died", status)


def run(confinement: Confinement, action: Callable[[], Any]) -> tuple[str, Any]:
    return finish(*start(confinement, action))


def confinement(**changes: Any) -> Confinement:
    return Confinement(**{**APP, "execute": PYTHON, **changes})


def refused(outcome: tuple[str, Any]) -> bool:
    return outcome in (("errno", errno.EACCES), ("errno", errno.EPERM))
