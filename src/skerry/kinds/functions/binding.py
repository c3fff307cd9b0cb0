"""`env.<name>` of another function: a service binding. It calls over the function's own socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skerry.kernel.kind import Context
from skerry.kinds.functions.client import Reply, request


class Service:
    """Another function of the same branch, woken by the first call."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def fetch(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | str = b"",
        json: Any = None,
    ) -> Reply:
        """Send a request; return the whole answer, whatever its status.

        `path` may have a query; `json` is a value to send instead of `body`. Raises ENGINE_FAILED
        if the function does not answer, TOO_LARGE for an answer over 64 MiB, ValueError for what is
        not a request.
        """
        name = self._context.ref.name
        return await request(
            self._endpoint, name, method, path, headers=dict(headers or {}), body=body, json=json
        )

    async def _endpoint(self) -> str:
        return await self._context.host.ready(self._context.ref.name)

    def __repr__(self) -> str:
        return f"<function {self._context.ref.name}>"


async def bind(context: Context) -> Service:
    """Return the binding of a function; nothing is woken yet."""
    return Service(context)
