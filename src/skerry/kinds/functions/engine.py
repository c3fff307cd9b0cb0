"""The engine of a function: its code, started with what it is bound to."""

from __future__ import annotations

import asyncio
import io
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.environment import Environment, env
from skerry.kernel.errors import BUSY, ENGINE_FAILED, INVALID, TIMED_OUT, UNSUPPORTED, SkerryError
from skerry.kernel.kind import ASGIApplication, Context, Engine
from skerry.kernel.permission import permit
from skerry.kinds.functions.config import FunctionsConfig
from skerry.kinds.functions.entry import Function, Loader
from skerry.kinds.functions.failure import app_part
from skerry.kinds.functions.handlers import ScheduledEvent
from skerry.kinds.functions.lifespan import Lifespan
from skerry.kinds.functions.manifest import Triggered, TriggerParams
from skerry.kinds.functions.pool import Pool
from skerry.kinds.functions.watchdog import Watchdog

_NO_STATE = "A function keeps no state: its code is a version of the app."


class FunctionsEngine(Engine):
    """Runs the code of one function. Its process runs nothing else."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.config: FunctionsConfig = context.config
        self._function: Function | None = None
        self._environment: Environment | None = None
        self._lifespan: Lifespan | None = None
        self._pool: Pool | None = None
        self._watchdog: Watchdog | None = None
        self._running: set[str] = set()

    @property
    def application(self) -> ASGIApplication:
        """The app, once the engine is started."""
        assert self._function is not None, "the engine is not started"
        return self._function.application

    @property
    def state(self) -> dict[str, Any]:
        """What requests find in `scope["state"]`: `env`, and what the app's start put there."""
        if self._lifespan is not None:
            return self._lifespan.state
        return {"env": self._environment}

    async def start(self) -> None:
        """Bind what the function names, import its code, and run its start.

        Raises ENGINE_FAILED, CONFIG_INVALID or TIMED_OUT, and what bindings raise.
        """
        _print_by_lines()
        context, config = self.context, self.config
        self._pool = Pool(config.threads, context.clock)
        self._watchdog = Watchdog(config.timeout_seconds, context.log, self._pool.is_stuck)
        self._watchdog.start()
        self._environment = await self._bind()
        env.install(self._environment)
        permit.install(context.permit)
        try:
            self._function = Loader(config, self._environment, self._pool).load()
            if self._function.has_lifespan:
                state = {"env": self._environment}
                self._lifespan = Lifespan(self._function.application, state)
                await self._lifespan.start(config.timeout_seconds)
        except SkerryError as error:
            cause = error.__cause__
            raised = app_part(cause) if cause else None
            context.log.exception("%s %s", error.what, error.why, exc_info=raised)
            raise

    async def _bind(self) -> Environment:
        """Make the environment; bindings connect when they are first used."""
        context = self.context
        bound = await asyncio.gather(*(context.host.bind(name) for name in context.bindings))
        groups = (
            dict(zip(context.bindings, bound, strict=True)),
            context.secrets,
            self.config.vars,
        )
        values: dict[str, Any] = {}
        for group in groups:
            for name, value in group.items():
                if name in values:
                    raise INVALID(
                        f"{name} is given to {context.ref.name} twice.",
                        why="Bindings, secrets and vars share their names.",
                        hint="Rename one of them in skerry.toml.",
                    )
                values[name] = value
        return Environment(f"{context.ref.kind}.{context.ref.name}", values)

    async def stop(self) -> None:
        """Run the app's end, and let go of everything; a start that failed half-way is cleared."""
        if self._lifespan is not None:
            problem = await self._lifespan.stop()
            if problem:
                self.context.log.error("The app's end failed: %s", problem)
        if self._watchdog is not None:
            self._watchdog.stop()
        if self._pool is not None:
            self._pool.close()
        if self._environment is not None:
            env.remove(self._environment)
            permit.remove(self.context.permit)
        self._function = self._lifespan = None
        sys.stdout.flush()

    async def endpoint(self) -> str:
        """Return the socket on which the process serves the function, for other functions."""
        return str(self.context.run / "http.sock")

    async def freeze(self, atomic: bool) -> None:
        """Hold nothing: what a function writes goes to resources, which hold their own writers."""

    async def thaw(self) -> None:
        """Hold nothing, so let nothing go."""

    async def export(self, target: Path) -> None:
        """Refuse: there is no state."""
        raise UNSUPPORTED("A function cannot be exported.", why=_NO_STATE)

    async def restore(self, source: Path) -> None:
        """Refuse: there is no state."""
        raise UNSUPPORTED("A function cannot be imported.", why=_NO_STATE, hint="skerry deploy")

    async def status(self) -> dict[str, Any]:
        """Return what the function is, and what it does now besides answering."""
        return {
            "entry": self.config.entry,
            "crons": list(self.config.crons),
            "running": sorted(self._running),
        }

    async def word_trigger(self, params: TriggerParams) -> Triggered:
        """Run `scheduled`; at most one run of an expression at a time.

        Raises INVALID, UNSUPPORTED, BUSY, TIMED_OUT, or ENGINE_FAILED with what the code raised.
        """
        clock = self.context.clock
        cron, moment = self._cron(params.cron), self._moment(params.time)
        handler = self._function.scheduled if self._function is not None else None
        if handler is None:
            raise UNSUPPORTED(
                f"The function {self.context.ref.name} has no `scheduled`.",
                hint="Define `async def scheduled(event, env)` beside its entry.",
            )
        if cron in self._running:
            raise BUSY(f"The run of {cron!r} before is not over.", hint="skerry logs")
        self._running.add(cron)
        self.context.meter.add("runs")
        started = clock.monotonic()
        limit = self.config.cron_timeout_seconds
        try:
            async with asyncio.timeout(limit):
                await handler.call(ScheduledEvent(cron, moment), limit)
        except TimeoutError as error:
            raise self._run_failed(cron, error, clock.monotonic() - started >= limit) from error
        except (Exception, SystemExit) as error:
            raise self._run_failed(cron, error, late=False) from error
        finally:
            self._running.discard(cron)
        return Triggered(cron, moment.isoformat(), round(clock.monotonic() - started, 3))

    def _run_failed(self, cron: str, error: BaseException, late: bool) -> SkerryError:
        self.context.meter.add("errors")
        self.context.log.error("scheduled (%s) failed.", cron, exc_info=app_part(error))
        if late:
            return TIMED_OUT(f"The run of {cron!r} took longer than {self.config.cron_timeout}.")
        why = f"{type(error).__name__}: {error}"
        return ENGINE_FAILED(f"The run of {cron!r} failed.", why=why, hint="skerry logs")

    def _cron(self, cron: str) -> str:
        crons = self.config.crons
        if cron:
            return cron
        if len(crons) > 1:
            raise INVALID("The function has several crons.", why=f"Name one: {', '.join(crons)}.")
        return crons[0] if crons else "manual"

    def _moment(self, text: str) -> datetime:
        if not text:
            return datetime.fromtimestamp(self.context.clock.now() / NANOSECONDS, UTC)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise INVALID(f"{text!r} is no time such as 2030-01-31T09:00:00Z.") from error
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _print_by_lines() -> None:
    """Let what the code prints reach the log line by line, not when a buffer is full."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
