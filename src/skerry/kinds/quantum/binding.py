"""What a function receives as `env.<name>`: the queue of jobs.

    result = env.qpu.run(program, shots=1000, device="iqm-garnet")    # in a plain function
    result = await env.qpu.aio.run(program, shots=1000)               # in an async one
    result = env.qpu.run(QuantumCircuit(2, 2))                        # Qiskit's circuits, too
    result.counts                                  # {"00": 512, "11": 488}, bit 0 first

`run` waits for the end; `submit` returns at once, and the job goes on whatever becomes of the
function. The calls speak lines of JSON with the engine over its unix socket (see `socket_wire`).
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from skerry.kernel.errors import CONFLICT, ENGINE_FAILED, INVALID, SkerryError, from_dict
from skerry.kernel.kind import Context
from skerry.kinds.quantum.contract import Budget, Format, Job, JobRequest, JobState, Result
from skerry.kinds.quantum.socket_wire import LINE_BYTES_MAX

DEFAULT_DEVICE = "sim-ideal"
T = TypeVar("T")


def text_of(program: Any) -> str:
    """Return a program as text: as it is, or OpenQASM 3 of a circuit of Qiskit's.

    Raises INVALID for anything else. Qiskit is loaded only where the caller has loaded it.
    """
    if isinstance(program, str):
        return program
    kind = type(program)
    if kind.__module__.partition(".")[0] == "qiskit" and hasattr(program, "num_clbits"):
        return str(importlib.import_module("qiskit.qasm3").dumps(program))
    raise INVALID(f"A program is a text or a circuit of Qiskit's, not a {kind.__name__}.")


def job_request(
    program: Any,
    *,
    device: str = DEFAULT_DEVICE,
    shots: int = 1000,
    bindings: Sequence[Mapping[str, float]] = ({},),
    budget: Budget | None = None,
    token: str = "",
    language: Format = "openqasm3",
    provider: str = "twin",
    **options: Any,
) -> JobRequest:
    """Make a request from a program or several, and the names of `contract.Options`.

    A program is a text in a language, or a circuit of Qiskit's. Raises INVALID.
    """
    if isinstance(program, JobRequest):
        return program
    many = isinstance(program, Sequence) and not isinstance(program, str)
    sources = [text_of(each) for each in (program if many else [program])]
    values = tuple(dict(each) for each in bindings)
    shape = {
        "device": device,
        "programs": [{"source": each, "bindings": values, "format": language} for each in sources],
        "provider": provider,
        "shots": shots,
        "budget": budget,
        "token": token,
        "options": options,
    }
    return msgspec.convert(msgspec.to_builtins(shape), JobRequest)


class AsyncQueue:
    """The calls as coroutines."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run(self, program: Any, **how: Any) -> Result:
        """Run a program and return its first result; raise what went wrong."""
        return (await self.run_all(program, **how))[0]

    async def run_all(self, program: Any, **how: Any) -> tuple[Result, ...]:
        """Run programs and bindings as one job; return a result for each."""
        return await self.wait((await self.submit(program, **how)).id)

    async def wait(self, id: str) -> tuple[Result, ...]:  # noqa: A002 (the word of every vendor)
        """Wait for a job's end and return its results; raise what went wrong."""
        job = await self.job(id)
        while not job.over:
            job = await self._call("wait", {"job": id, "seconds": 30.0}, Job)
        if job.state is not JobState.COMPLETED:
            raise _failure(job)
        return await self.results(id)

    async def submit(self, program: Any, **how: Any) -> Job:
        """Queue a job, durably, and return it."""
        request = job_request(program, **how)
        return await self._call("submit", msgspec.to_builtins(request), Job)

    async def job(self, id: str) -> Job:  # noqa: A002 (the word of every vendor)
        """Return a job as it stands."""
        return await self._call("job", {"job": id}, Job)

    async def results(self, id: str) -> tuple[Result, ...]:  # noqa: A002
        """Return a job's results so far."""
        return await self._call("results", {"job": id}, tuple[Result, ...])

    async def cancel(self, id: str) -> Job:  # noqa: A002
        """Cancel a job."""
        return await self._call("cancel", {"job": id}, Job)

    async def _call(self, what: str, params: Any, kind: type[T]) -> T:
        path = await self._context.host.ready(self._context.ref.name)
        reader, writer = await asyncio.open_unix_connection(path, limit=LINE_BYTES_MAX)
        try:
            writer.write(msgspec.json.encode({"do": what, "params": params}) + b"\n")
            await writer.drain()
            line = await reader.readline()
        finally:
            writer.close()
        if not line:
            raise ENGINE_FAILED("The engine went away; the job goes on when it is back.")
        answer = msgspec.json.decode(line)
        if "error" in answer:
            raise from_dict(answer["error"])
        return msgspec.convert(answer["result"], kind)


class JobQueue:
    """The calls of `AsyncQueue`, plain; they wait, so an event loop must not make them."""

    def __init__(self, context: Context, loop: asyncio.AbstractEventLoop) -> None:
        self.aio = AsyncQueue(context)
        self._loop = loop
        self._thread = threading.get_ident()

    def run(self, program: Any, **how: Any) -> Result:
        """See `AsyncQueue.run`."""
        return self._wait(self.aio.run(program, **how))

    def run_all(self, program: Any, **how: Any) -> tuple[Result, ...]:
        """See `AsyncQueue.run_all`."""
        return self._wait(self.aio.run_all(program, **how))

    def wait(self, id: str) -> tuple[Result, ...]:  # noqa: A002
        """See `AsyncQueue.wait`."""
        return self._wait(self.aio.wait(id))

    def submit(self, program: Any, **how: Any) -> Job:
        """See `AsyncQueue.submit`."""
        return self._wait(self.aio.submit(program, **how))

    def job(self, id: str) -> Job:  # noqa: A002
        """See `AsyncQueue.job`."""
        return self._wait(self.aio.job(id))

    def results(self, id: str) -> tuple[Result, ...]:  # noqa: A002
        """See `AsyncQueue.results`."""
        return self._wait(self.aio.results(id))

    def cancel(self, id: str) -> Job:  # noqa: A002
        """See `AsyncQueue.cancel`."""
        return self._wait(self.aio.cancel(id))

    def _wait(self, call: Coroutine[Any, Any, T]) -> T:
        if threading.get_ident() == self._thread:
            call.close()
            raise CONFLICT(
                "A call that waits was made in an async function.",
                hint="await env.<name>.aio.run(…)",
            )
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()


async def bind(context: Context) -> JobQueue:
    """Return the binding."""
    return JobQueue(context, asyncio.get_running_loop())


def _failure(job: Job) -> SkerryError:
    if job.error is not None:
        return from_dict(job.error)
    return CONFLICT(f"Job {job.id} is {job.state}.", hint="skerry quantum jobs")
