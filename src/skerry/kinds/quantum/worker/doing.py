"""What a worker can be asked to do, by name; each is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any


def _parse(params: dict[str, Any]) -> Any:
    from .running import parsed, with_readout  # noqa: PLC0415

    return with_readout(parsed(params))


def _plan(params: dict[str, Any]) -> Any:
    return _engine(params).plan(params)


def _compile(params: dict[str, Any]) -> Any:
    from .running import prepared  # noqa: PLC0415

    return prepared({**params, "fidelity": "ideal"})[1].circuit


def _run(params: dict[str, Any]) -> Any:
    return _engine(params).run(params)


def _engine(params: dict[str, Any]) -> Any:
    """Return the module that runs programs of a paradigm."""
    if params.get("paradigm") == "analog":
        from . import atoms  # noqa: PLC0415

        return atoms
    if params.get("paradigm") == "photonic":
        from . import photons  # noqa: PLC0415

        return photons
    from .exactly import ENGINES  # noqa: PLC0415

    if params.get("engine") in ENGINES:
        from . import exact  # noqa: PLC0415

        return exact
    from . import running  # noqa: PLC0415

    return running


def _emit(params: dict[str, Any]) -> Any:
    from . import emitting  # noqa: PLC0415
    from .running import parsed  # noqa: PLC0415

    dialects: dict[str, Callable[[Any], str]] = {
        "openqasm3": emitting.openqasm3,
        "openqasm2": emitting.openqasm2,
        "braket": emitting.braket,
        "braket-verbatim": partial(emitting.braket, verbatim=True),
    }
    return dialects[params["dialect"]](parsed(params))


def _resources(params: dict[str, Any]) -> Any:
    from .resources import resources  # noqa: PLC0415

    return resources(params)


def _estimate(params: dict[str, Any]) -> Any:
    from .resources import estimate  # noqa: PLC0415

    return estimate(params)


def _disassemble(params: dict[str, Any]) -> Any:
    from .qir import disassembled  # noqa: PLC0415

    return disassembled(params)


def _recorded(params: dict[str, Any]) -> Any:
    from .qir import recorded  # noqa: PLC0415

    return recorded(params["source"])


def _chemistry(params: dict[str, Any]) -> Any:
    from .chemistry import chemistry  # noqa: PLC0415

    return chemistry(params)


def _primitives(params: dict[str, Any]) -> Any:
    from .primitives import primitives  # noqa: PLC0415

    return primitives(params)


def _mitigated(params: dict[str, Any]) -> Any:
    from .mitigation import finished  # noqa: PLC0415

    return finished(params)


def _ready(params: dict[str, Any]) -> Any:
    from .routing import installed_engines  # noqa: PLC0415

    return sorted(installed_engines())


DO: dict[str, Callable[[dict[str, Any]], Any]] = {
    "parse": _parse,
    "plan": _plan,
    "compile": _compile,
    "run": _run,
    "estimate": _estimate,
    "disassemble": _disassemble,
    "recorded": _recorded,
    "emit": _emit,
    "primitives": _primitives,
    "mitigated": _mitigated,
    "ready": _ready,
    "chemistry": _chemistry,
    "resources": _resources,
}
