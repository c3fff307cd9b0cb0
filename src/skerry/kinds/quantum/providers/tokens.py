"""Access tokens of OAuth 2: asked for with a credential, used until shortly before their end."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from skerry.kernel.clock import Clock
from skerry.kinds.quantum.providers.calling import call, garbled

EARLY_SECONDS = 60.0
SECONDS_USUAL = 300.0
SECONDS_MAX = 86_400.0


class Token:
    """One access token, renewed when it is about to end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._token = ""
        self._until = 0.0

    async def get(self, url: str, form: Mapping[str, str]) -> str:
        """Return a token that holds; `form` is what asks for a new one. Raises VendorError."""
        now = self._clock.monotonic()
        if self._token and now < self._until:
            return self._token
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        found = (await call("POST", url, headers, urlencode(form).encode())).json()
        token, seconds = found.get("access_token"), found.get("expires_in", SECONDS_USUAL)
        if not isinstance(token, str) or not token or not token.isascii():
            raise garbled("The vendor's answer holds no access token.")
        if not isinstance(seconds, int | float):
            seconds = SECONDS_USUAL
        self._token, self._until = token, now + min(seconds, SECONDS_MAX) - EARLY_SECONDS
        return token
