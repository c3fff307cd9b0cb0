"""Skerry: a whole cloud on machines that you own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skerry.kernel.environment import env as env

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `env` when it is first asked for, so that commands start without it."""
    if name == "env":
        from skerry.kernel.environment import env  # noqa: PLC0415

        return env
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
