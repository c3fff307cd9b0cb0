"""Running PostgreSQL's own programs (initdb, pg_dump, psql) as children of the engine."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from skerry.kernel.errors import ENGINE_FAILED, TIMED_OUT

_PR_SET_PDEATHSIG = 1
_TAIL_BYTES = 4000


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of a child: nothing of ours but where programs are."""
    path = os.environ.get("PATH", "/usr/bin:/bin")
    return {"PATH": path, "LC_ALL": "C.UTF-8", "TZ": "UTC", "PGTZ": "UTC", **extra}


def dies_with_parent(sent: signal.Signals) -> Callable[[], None]:
    """Return what a child runs before its program: get a signal when this process dies (Linux)."""
    parent = os.getpid()
    library = _libc()

    def prepare() -> None:
        if library is not None:
            library.prctl(_PR_SET_PDEATHSIG, int(sent), 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    return prepare


async def run(
    argv: list[str],
    *,
    env: Mapping[str, str] | None = None,
    stdout: Path | None = None,
    seconds: float = 3600.0,
) -> None:
    """Run a program to its end; raise ENGINE_FAILED with its last words if it fails.

    What it prints goes to the file `stdout`, or nowhere. It is killed when the caller is cancelled.
    """
    with (stdout or Path(os.devnull)).open("wb") as output:
        process = await _spawn(
            argv,
            environment() if env is None else env,
            asyncio.subprocess.DEVNULL,
            output.fileno(),
        )
    try:
        async with asyncio.timeout(seconds):
            words = await _tail(process)
            code = await process.wait()
    except TimeoutError as error:
        raise TIMED_OUT(f"{Path(argv[0]).name} took longer than {seconds:.0f} s.") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if code:
        raise ENGINE_FAILED(f"{Path(argv[0]).name} failed.", why=words.strip())


async def pipe(
    source: list[str], source_env: Mapping[str, str], sink: list[str], sink_env: Mapping[str, str]
) -> None:
    """Run two programs, the first one's output being the other's input.

    Raises ENGINE_FAILED with the last words of the one that failed first.
    """
    read_end, write_end = os.pipe()
    null = asyncio.subprocess.DEVNULL
    started: list[asyncio.subprocess.Process] = []
    try:
        try:
            started.append(await _spawn(source, source_env, null, write_end))
            started.append(await _spawn(sink, sink_env, read_end, null))
        finally:
            os.close(read_end)
            os.close(write_end)
        words = await asyncio.gather(*map(_tail, started))
        codes = [await process.wait() for process in started]
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
                await process.wait()
    for argv, code, said in reversed(list(zip((source, sink), codes, words, strict=True))):
        if code and code != -signal.SIGPIPE:
            raise ENGINE_FAILED(f"{Path(argv[0]).name} failed.", why=said.strip())


async def _spawn(
    argv: list[str], env: Mapping[str, str], stdin: int, stdout: int
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *argv,
        env=dict(env),
        stdin=stdin,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=dies_with_parent(signal.SIGKILL),
    )


def as_known_user(argv: list[str]) -> list[str]:
    """Return `argv` such that it runs under a user that the machine knows by name.

    initdb refuses a uid without a passwd entry, which is what a cell has on a node that runs as
    root. A user namespace gives it the name nobody and changes no right. A cell's user has a name
    in the cell's own /etc/passwd, which it loses as the machine's is replaced (adding a user does
    that), and may make no namespace: raises ENGINE_FAILED, as a cell that is started anew has it.
    """
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        if _is_confined():
            raise ENGINE_FAILED(
                f"initdb cannot run as uid {os.geteuid()}, which has no name.",
                why="Either this machine's list of users was replaced after the app had started, "
                "or the uid never stood in /etc/passwd and needs an entry there.",
                hint="skerry sleep",
            ) from None
        unshare = shutil.which("unshare")
        if unshare is None:
            raise ENGINE_FAILED(
                f"initdb cannot run as uid {os.geteuid()}, which has no name.",
                why="There is no unshare program to give it one.",
                hint="Install util-linux, or give the uid an entry in /etc/passwd.",
            ) from None
        return [unshare, "--user", "--map-user=65534", "--map-group=65534", *argv]
    return argv


def _is_confined() -> bool:
    """Tell whether system calls of this process are filtered (proc_pid_status(5))."""
    status = Path("/proc/self/status")
    return status.exists() and "\nSeccomp:\t2\n" in status.read_text()


async def _tail(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    kept = b""
    while chunk := await process.stderr.read(65536):
        kept = (kept + chunk)[-_TAIL_BYTES:]
    return kept.decode("utf-8", "replace")


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
