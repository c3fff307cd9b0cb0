"""Sessions and limits on attempts, in the key-value store.

A visitor has a random token in a cookie. What is kept is its hash, so a copy of the store lets
nobody in. Forms carry a code made from the token and the site's key (CSRF).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from skerry import env

EDITOR_SECONDS = 12 * 3600
_KEY = "site/key"


async def prepare() -> None:
    """Make the site's key, once."""
    if await env.sessions.aio.get(_KEY) is None:
        await env.sessions.aio.put(_KEY, secrets.token_hex(32))


def new_token() -> str:
    """Return a token for a cookie."""
    return secrets.token_urlsafe(24)


def csrf(token: str) -> str:
    """Return the code that forms of this visitor carry."""
    key = env.sessions.get(_KEY)
    return hmac.new(key.encode(), token.encode(), hashlib.sha256).hexdigest()


def csrf_matches(token: str, code: str) -> bool:
    """Tell whether a form was made for this visitor."""
    return bool(token) and hmac.compare_digest(csrf(token).encode(), code.encode())


def is_editor(token: str) -> bool:
    """Tell whether a visitor has logged in as editor."""
    return bool(token) and env.sessions.get(_session(token)) is not None


async def log_in(token: str) -> None:
    """Remember that the visitor is an editor."""
    await env.sessions.aio.put(_session(token), "editor", expiration_ttl=EDITOR_SECONDS)


async def log_out(token: str) -> None:
    """Forget it."""
    await env.sessions.aio.delete(_session(token))


def password_matches(given: str) -> bool:
    """Tell whether it is the editor's password; never, if none is set."""
    wanted = env.EDITOR_PASSWORD if "EDITOR_PASSWORD" in env else ""
    return bool(wanted) and hmac.compare_digest(wanted.encode(), given.encode())


def has_password() -> bool:
    """Tell whether an editor can log in at all."""
    return "EDITOR_PASSWORD" in env and bool(env.EDITOR_PASSWORD)


def may(what: str, who: str, times: int) -> bool:
    """Tell whether somebody has attempts left."""
    return int(env.sessions.get(_attempts(what, who)) or 0) < times


async def count(what: str, who: str, seconds: int) -> None:
    """Count an attempt; the count is forgotten `seconds` after the last one."""
    key = _attempts(what, who)
    tried = int(env.sessions.get(key) or 0) + 1
    await env.sessions.aio.put(key, str(tried), expiration_ttl=seconds)


def _session(token: str) -> str:
    return f"session/{hashlib.sha256(token.encode()).hexdigest()}"


def _attempts(what: str, who: str) -> str:
    return f"attempts/{what}/{hashlib.sha256(who.encode()).hexdigest()[:32]}"
