"""Loads what a function's `entry` names and tells what it is: ASGI, WSGI or plain handlers."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from skerry.kernel.environment import Environment
from skerry.kernel.errors import CONFIG_INVALID, ENGINE_FAILED, SkerryError
from skerry.kernel.kind import ASGIApplication
from skerry.kernel.names import did_you_mean
from skerry.kinds.functions.config import FunctionsConfig
from skerry.kinds.functions.handlers import Handler, Handlers
from skerry.kinds.functions.pool import Pool
from skerry.kinds.functions.wsgi import WSGI

PRELOADED = (
    "anyio._backends._asyncio",
    "concurrent.futures.thread",
    "jinja2",
    "starlette.applications",
    "starlette.middleware.cors",
    "starlette.routing",
    "starlette.staticfiles",
    "starlette.templating",
    "starlette.websockets",
)
"""What most apps import: it is imported once, before processes are forked, for all of them."""

for _name in PRELOADED:
    importlib.import_module(_name)


@dataclass(frozen=True, slots=True)
class Function:
    """What a function answers with; `has_lifespan` tells that it may want its start and end."""

    application: ASGIApplication
    scheduled: Handler | None
    has_lifespan: bool


class Loader:
    """Loads the entry of one function."""

    def __init__(self, config: FunctionsConfig, environment: Environment, pool: Pool) -> None:
        self._config = config
        self._environment = environment
        self._pool = pool

    def load(self) -> Function:
        """Import the entry. Raises ENGINE_FAILED with what its code raised, or CONFIG_INVALID."""
        module_name, _, attribute = self._config.entry.partition(":")
        module = self._run(lambda: self._import(module_name), "cannot be imported")
        target: Any = module
        for part in attribute.split(".") if attribute else ():
            if not hasattr(target, part):
                hint = did_you_mean(part, [name for name in vars(target) if name[0] != "_"])
                raise self._error(f"{module_name} has no {attribute!r}.", hint)
            target = getattr(target, part)
        function = self._function(target, module)
        if self._config.crons and function.scheduled is None:
            raise self._error(
                f"{self._config.entry} has crons but no `scheduled`.",
                f"Define `async def scheduled(event, env)` in {module_name}.",
            )
        return function

    def _import(self, name: str) -> ModuleType:
        """Import the module of the entry; raise CONFIG_INVALID if the app has no such module."""
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if missing != name and not name.startswith(f"{missing}."):
                raise
            known = [each.name for each in pkgutil.iter_modules(sys.path[:1])]
            raise self._error(
                f"There is no module {missing}.", did_you_mean(missing, known)
            ) from None

    def _function(self, target: Any, module: ModuleType) -> Function:
        interface: str = self._config.interface
        if interface == "auto":
            interface = self._recognise(target)
        if interface == "factory":
            target = self._run(target, "failed as a factory")
            interface = self._recognise(target)
        if inspect.isclass(target) and interface == "handler":
            target = self._instance(target)
        scheduled = self._handler(getattr(target, "scheduled", None)) or self._handler(
            getattr(module, "scheduled", None)
        )
        if interface == "asgi":
            return Function(target, scheduled, has_lifespan=True)
        if interface == "wsgi":
            return Function(WSGI(target, self._pool, self._config), scheduled, has_lifespan=False)
        is_function = inspect.isroutine(target)
        fetch = self._handler(target if is_function else getattr(target, "fetch", None))
        handlers = Handlers(fetch, self._config.timeout_seconds)
        return Function(handlers, scheduled, has_lifespan=False)

    def _recognise(self, target: Any) -> str:
        """Tell what `target` is from its parameters."""
        if inspect.ismodule(target) or inspect.isclass(target):
            return self._recognise_by_methods(target)
        if not callable(target):
            if hasattr(target, "fetch"):
                return "handler"
            raise self._error(f"{self._config.entry} is a {type(target).__name__}, not an app.")
        names = positional(target)
        is_async = _is_async(target)
        if len(names) == 3 and is_async:
            return "asgi"
        if len(names) == 2 and names[1] == "start_response":
            return "wsgi"
        if not is_async and inspect.isroutine(target) and not required(target):
            return "factory"
        if len(names) <= 2 and inspect.isroutine(target):
            return "handler"
        if hasattr(target, "fetch"):
            return "handler"
        raise self._error(
            f"{self._config.entry} takes {', '.join(names) or 'nothing'}.",
            "An ASGI app takes (scope, receive, send), a WSGI app (environ, start_response), "
            "a handler (request, env).",
        )

    def _recognise_by_methods(self, target: Any) -> str:
        if hasattr(target, "fetch") or hasattr(target, "scheduled"):
            return "handler"
        found = [name for name in ("app", "application") if hasattr(target, name)]
        hint = f"Did you mean {self._config.entry}:{found[0]}?" if found else ""
        raise self._error(
            f"{self._config.entry} has neither `fetch` nor `scheduled`.",
            hint or "Name an app (`module:app`), or define `async def fetch(request, env)`.",
        )

    def _instance(self, kind: Callable[..., Any]) -> Any:
        arguments = (self._environment,) if positional(kind) else ()
        instance = self._run(lambda: kind(*arguments), "cannot be made")
        if not hasattr(instance, "env"):
            with contextlib.suppress(AttributeError):  # A class with slots has no room for it.
                instance.env = self._environment
        return instance

    def _handler(self, function: Any) -> Handler | None:
        if function is None:
            return None
        return Handler(
            function,
            is_async=_is_async(function),
            takes=len(positional(function)),
            environment=self._environment,
            pool=self._pool,
        )

    def _run(self, step: Callable[[], Any], failure: str) -> Any:
        """Run code of the app that may raise anything, exits included."""
        entry = self._config.entry
        try:
            return step()
        except SkerryError:
            raise
        except (Exception, SystemExit) as error:
            why = f"{type(error).__name__}: {error}"
            hint = "skerry logs"
            if isinstance(error, ModuleNotFoundError):
                hint = "Name its package in the file that `requirements` of [app] names."
            raise ENGINE_FAILED(f"{entry} {failure}.", why=why, hint=hint) from error

    def _error(self, what: str, why: str = "") -> SkerryError:
        return CONFIG_INVALID(what, why=why, hint="Correct `entry` in skerry.toml.")


def positional(target: Any) -> list[str]:
    """Return the names of the positional parameters of a callable."""
    return [each.name for each in _parameters(target) if each.kind in _POSITIONAL]


def required(target: Any) -> list[str]:
    """Return the names of the parameters that a caller must give."""
    return [
        each.name
        for each in _parameters(target)
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _parameters(target: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return []


def _is_async(target: Any) -> bool:
    while hasattr(target, "func") and not inspect.isroutine(target):
        target = target.func
    return inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(
        getattr(target, "__call__", None)  # noqa: B004 - it is looked into, not tested for
    )
