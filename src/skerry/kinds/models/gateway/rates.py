"""How much a key may still use, as headers that OpenAI's clients and their users know.

Source: https://platform.openai.com/docs/guides/rate-limits, "Rate limits in headers".
"""

from __future__ import annotations

from skerry.kernel.clock import NANOSECONDS
from skerry.kinds.models.gateway.keyring import REQUESTS, TOKENS, KeyState

_MINUTE = 60
_MICRO = 1000


def rate_headers(state: KeyState, now: int) -> dict[str, str]:
    """Return limit, what is left, and when it starts over, for requests and tokens a minute."""
    found = {}
    for name in (REQUESTS, TOKENS):
        quota = state.quotas.get(name)
        if quota is not None:
            found[f"x-ratelimit-limit-{name}"] = str(quota.limit)
            found[f"x-ratelimit-remaining-{name}"] = str(quota.left(now))
            found[f"x-ratelimit-reset-{name}"] = _span(quota.resets_in(now))
    return found


def _span(nanoseconds: int) -> str:
    """Return a span as OpenAI writes it: `1m0s`, `12.5s`, `250ms`."""
    milliseconds = max(nanoseconds, 0) * _MICRO // NANOSECONDS
    if milliseconds < _MICRO:
        return f"{milliseconds}ms"
    seconds = milliseconds / _MICRO
    if seconds < _MINUTE:
        return f"{seconds:g}s"
    return f"{int(seconds // _MINUTE)}m{seconds % _MINUTE:g}s"
