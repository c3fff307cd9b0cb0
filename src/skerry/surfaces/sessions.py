"""Who is logged in to the console: one-time codes, sessions, and their CSRF tokens.

They are kept in memory: after a restart of the node everybody logs in again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

from skerry.kernel.clock import Clock, Entropy

CODE_SECONDS = 60.0
SESSION_SECONDS = 7 * 86_400.0
_CODES_MAX = 64
_SESSIONS_MAX = 1024
_MESSAGES_MAX = 5


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is logged in."""

    principal: str
    csrf: str
    until: float
    token: str = field(default="", repr=False)
    """The token under whose rights its pages are made; '' for the operator's."""


@dataclass(frozen=True, slots=True)
class _Code:
    principal: str
    until: float
    token: str = field(default="", repr=False)
    challenge: str = ""


class Sessions:
    """The sessions of one node; the oldest makes room when there are too many."""

    def __init__(self, clock: Clock, entropy: Entropy) -> None:
        self._clock = clock
        self._entropy = entropy
        self._codes: dict[str, _Code] = {}
        self._sessions: dict[str, Session] = {}
        self._messages: dict[str, list[tuple[str, bool]]] = {}

    def one_time_code(self, principal: str) -> str:
        """Return a code that opens one session within a minute."""
        _make_room(self._codes, _CODES_MAX)
        code = self._secret()
        self._codes[code] = _Code(principal, self._clock.monotonic() + CODE_SECONDS)
        return code

    def redeem(self, code: str) -> str | None:
        """Return the principal that a code stands for, once; None if it is spent or too old."""
        found = self._codes.pop(code, None)
        if found is None or found.token or found.until < self._clock.monotonic():
            return None
        return found.principal

    def code_for(self, token: str, challenge: str) -> str:
        """Return a code that a command line changes into a token within a minute, once.

        Only who knows the verifier of the challenge (RFC 7636, S256) gets it.
        """
        _make_room(self._codes, _CODES_MAX)
        code = self._secret()
        until = self._clock.monotonic() + CODE_SECONDS
        self._codes[code] = _Code("", until, token, challenge)
        return code

    def token_for(self, code: str, verifier: str) -> str | None:
        """Return the token of such a code; None if it is spent, too old, or another's."""
        found = self._codes.pop(code, None)
        if found is None or not found.token or found.until < self._clock.monotonic():
            return None
        digest = hashlib.sha256(verifier.encode()).digest()
        proven = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        return found.token if same(proven, found.challenge) else None

    def open(self, principal: str, token: str = "", seconds: float = SESSION_SECONDS) -> str:
        """Start a session; return the secret for its cookie."""
        _make_room(self._sessions, _SESSIONS_MAX)
        secret = self._secret()
        until = self._clock.monotonic() + seconds
        self._sessions[secret] = Session(principal, self._secret(), until, token)
        return secret

    def find(self, secret: str) -> Session | None:
        """Return the session of a cookie, if it lasts."""
        found = self._sessions.get(secret)
        if found is not None and found.until < self._clock.monotonic():
            self.close(secret)
            return None
        return found

    def close(self, secret: str) -> None:
        """End a session; nothing happens if there is none."""
        self._sessions.pop(secret, None)
        self._messages.pop(secret, None)

    def tell(self, secret: str, message: str, *, good: bool) -> None:
        """Leave a message for the session's next page."""
        if secret in self._sessions:
            _make_room(self._messages, _SESSIONS_MAX)
            waiting = self._messages.setdefault(secret, [])
            waiting[:] = [*waiting, (message, good)][-_MESSAGES_MAX:]

    def told(self, secret: str) -> list[tuple[str, bool]]:
        """Return the messages that were left, once."""
        return self._messages.pop(secret, [])

    def _secret(self) -> str:
        return self._entropy.bytes(24).hex()


def same(one: str, other: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def _make_room(entries: MutableMapping[str, Any], most: int) -> None:
    while len(entries) >= most:
        del entries[next(iter(entries))]
