"""Skerry: a whole cloud on machines that you own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skerry.kernel.environment import env as env
    from skerry.kernel.permission import permit as permit

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what code of users asks for when it does, so that commands start without it."""
    if name == "env":
        from skerry.kernel.environment import env  # noqa: PLC0415

        return env
    if name == "permit":
        from skerry.kernel.permission import permit  # noqa: PLC0415

        return permit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
