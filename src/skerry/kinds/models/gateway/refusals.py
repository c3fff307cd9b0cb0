"""What providers say when they refuse: their bodies in many shapes, and how long to wait."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from skerry.kinds.models.gateway.failure import FailureError

MESSAGE_LENGTH_MAX = 2000
WAIT_SECONDS_MAX = 3600.0
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RESETS = ("x-ratelimit-reset-requests", "x-ratelimit-reset-tokens", "x-ratelimit-reset")
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}


def refusal(status: int, body: bytes, provider: str) -> FailureError:
    """Return what a provider refused with, in OpenAI's terms."""
    message, kind, code, param = _parts(body)
    return FailureError(
        status,
        f"{provider}: {message or f'it answered {status}'}",
        kind=kind or _KINDS.get(status, "server_error"),
        code=code,
        param=param,
    )


def _parts(body: bytes) -> tuple[str, str | None, str | None, str | None]:
    try:
        shape: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body[:MESSAGE_LENGTH_MAX].decode("utf-8", "replace").strip()
        return ("" if text.startswith("<") else text), None, None, None
    if isinstance(shape, list):
        shape = shape[0] if shape else {}
    if not isinstance(shape, dict):
        return str(shape)[:MESSAGE_LENGTH_MAX], None, None, None
    error = shape.get("error")
    inner = error if isinstance(error, dict) else shape
    if isinstance(shape.get("errors"), list) and shape["errors"]:
        first = shape["errors"][0]
        inner = first if isinstance(first, dict) else {"message": str(first)}
    message = inner.get("message") or inner.get("detail") or inner.get("msg")
    if not message and isinstance(error, str):
        message = error
    text = message if isinstance(message, str) else msgspec.json.encode(message or "").decode()
    text = "" if text == '""' else text[:MESSAGE_LENGTH_MAX]
    return text, _string(inner.get("type")), _string(inner.get("code")), _string(inner.get("param"))


def _string(value: Any) -> str | None:
    return None if value is None or isinstance(value, (dict, list)) else str(value)[:200]


def wait_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Return how long a provider asks to wait; `now` is in seconds since 1970.

    Sources: RFC 9110, 10.2.3; the x-ratelimit headers as OpenAI documents them.
    """
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name)
        if not text:
            continue
        try:
            return _bounded(float(text) * scale)
        except ValueError:
            date = email.utils.parsedate_tz(text)
            if date is not None:
                return _bounded(email.utils.mktime_tz(date) - now)
    spans = [_span(headers[name], now) for name in _RESETS if headers.get(name)]
    return max((span for span in spans if span is not None), default=None)


def _span(text: str, now: float) -> float | None:
    """Return the seconds in `6m0s`, `250ms`, `12`, or until a moment since 1970."""
    parts = _SPAN.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return _bounded(sum(float(number) * _SECONDS[unit] for number, unit in parts))
    try:
        value = float(text)
    except ValueError:
        return None
    return _bounded(value - now if value > 1e9 else value)


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), WAIT_SECONDS_MAX)
