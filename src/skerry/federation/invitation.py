"""Invitations: one line of text that lets one other node join, once, for a while."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field

import msgspec

from skerry.kernel.clock import NANOSECONDS, Clock, Entropy
from skerry.kernel.errors import BUSY, INVALID, UNAUTHENTICATED

PREFIX = "ski_"
VALID_SECONDS = 3600
OPEN_MAX = 100
TEXT_LETTERS_MAX = 4096


class Invitation(msgspec.Struct, frozen=True, array_like=True):
    """What the text says: where to join, whose certificate to expect, and the secret."""

    url: str
    public_key: bytes
    secret: bytes
    expires: int

    def encode(self) -> str:
        """Return the text."""
        data = msgspec.msgpack.encode(self)
        return PREFIX + base64.urlsafe_b64encode(data).decode().rstrip("=")

    def __repr__(self) -> str:
        return f"Invitation({self.url})"


def decode(text: str) -> Invitation:
    """Return the invitation that a text holds; raise INVALID."""
    wrong = INVALID(
        "This is no invitation.",
        why=f"It begins with {PREFIX} and is one long word.",
        hint="Run skerry node invite on the other node.",
    )
    text = text.strip()
    if not text.startswith(PREFIX) or len(text) > TEXT_LETTERS_MAX:
        raise wrong
    body = text.removeprefix(PREFIX)
    try:
        data = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        return msgspec.msgpack.decode(data, type=Invitation)
    except (ValueError, msgspec.DecodeError) as error:
        raise wrong from error


@dataclass
class Invitations:
    """The invitations that are open; they are forgotten when the node stops."""

    clock: Clock
    entropy: Entropy
    _open: dict[bytes, int] = field(default_factory=dict, repr=False)

    def make(self, url: str, public_key: bytes) -> Invitation:
        """Open an invitation. Raises BUSY when too many are open."""
        self._forget_old()
        if len(self._open) >= OPEN_MAX:
            raise BUSY(f"{OPEN_MAX} invitations are open already.")
        secret = self.entropy.bytes(24)
        expires = self.clock.now() + VALID_SECONDS * NANOSECONDS
        self._open[_digest(secret)] = expires
        return Invitation(url, public_key, secret, expires)

    def use(self, secret: bytes) -> None:
        """Take an invitation back, once; raise UNAUTHENTICATED if it is not open."""
        self._forget_old()
        digest = _digest(secret)
        found = [each for each in self._open if hmac.compare_digest(each, digest)]
        if not found:
            raise UNAUTHENTICATED(
                "The invitation is not open.",
                why="Each is used once, within an hour, while its node runs.",
                hint="Run skerry node invite on the other node.",
            )
        del self._open[found[0]]

    def __len__(self) -> int:
        return len(self._open)

    def _forget_old(self) -> None:
        now = self.clock.now()
        self._open = {key: expires for key, expires in self._open.items() if expires > now}


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
