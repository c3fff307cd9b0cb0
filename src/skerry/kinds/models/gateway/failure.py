"""A failure in OpenAI's terms: status, type and code, and how long to wait."""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.kernel.errors import (
    BUSY,
    DENIED,
    INVALID,
    NOT_FOUND,
    TIMED_OUT,
    TOO_LARGE,
    UNAUTHENTICATED,
    Problem,
    SkerryError,
)

_TYPES: dict[Problem, tuple[int, str, str | None]] = {
    INVALID: (400, "invalid_request_error", None),
    UNAUTHENTICATED: (401, "authentication_error", "invalid_api_key"),
    DENIED: (403, "permission_error", "policy_denied"),
    NOT_FOUND: (404, "invalid_request_error", "not_found"),
    TOO_LARGE: (413, "invalid_request_error", "request_too_large"),
    BUSY: (503, "server_error", "overloaded"),
    TIMED_OUT: (504, "server_error", "timeout"),
}


class FailureError(Exception):
    """What a client is told; `headers` go with it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        retry_seconds: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.retry_seconds = retry_seconds
        self.headers = headers or {}

    def shape(self) -> dict[str, Any]:
        """Return the body's content."""
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}

    def body(self) -> bytes:
        """Return the body."""
        return msgspec.json.encode(self.shape())

    def wire_headers(self) -> dict[str, str]:
        """Return its headers, with how long to wait."""
        if self.retry_seconds is None:
            return self.headers
        wait = max(self.retry_seconds, 0.0)
        told = {"retry-after": str(int(-(-wait // 1))), "retry-after-ms": str(int(wait * 1000))}
        return {**self.headers, **told}


def from_problem(error: SkerryError, headers: dict[str, str] | None = None) -> FailureError:
    """Return one of our errors in OpenAI's terms."""
    status, kind, code = _TYPES.get(error.problem, (error.problem.http, "server_error", None))
    parts = (error.what, error.why, f"Run: {error.hint}" if error.hint else "")
    message = " ".join(part for part in parts if part)
    return FailureError(
        status, message, kind=kind, code=code or error.code.lower(), headers=headers
    )


def invalid(message: str, param: str | None = None) -> FailureError:
    """Return the failure for a request that is not well-formed."""
    return FailureError(400, message, param=param)
