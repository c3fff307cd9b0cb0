"""The tokens of a node: minted with a key that is derived from the node's, revoked by their ids."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import msgspec

from skerry.kernel.errors import CONFLICT, UNAUTHENTICATED
from skerry.kernel.keys import derive
from skerry.node.home import write_secret
from skerry.node.token.biscuit import PREFIX, Token, public_key, read

READ_MAX = 1000
REVOKED_MAX = 100_000
MINTED_MAX = 10_000
ENDED_MAX = 10_000


class Kept(msgspec.Struct, frozen=True):
    """What is kept of a token that was minted here: who has it, and until when, in seconds of 1970.

    The token itself is not kept, and those that its holder narrowed from it are not known.
    """

    name: str
    until: int


class Registry:
    """Reads and revokes tokens. Opening it blocks."""

    def __init__(self, node_key: bytes, folder: Path) -> None:
        self.seed = derive(node_key, "tokens")
        self._path = folder / "revoked.json"
        self._read: OrderedDict[str, Token] = OrderedDict()
        self._minted_path = folder / "minted.json"
        self.minted: dict[str, Kept] = {}
        """The tokens that were minted and neither ended nor were revoked, by their ids."""
        if self._minted_path.exists():
            data = self._minted_path.read_bytes()
            self.minted = msgspec.json.decode(data, type=dict[str, Kept])
        self._ended_path = folder / "ended.json"
        self._ended: dict[str, int] = {}
        """Tokens whose holders logged out, until they would have ended anyway."""
        if self._ended_path.exists():
            self._ended = msgspec.json.decode(self._ended_path.read_bytes(), type=dict[str, int])
        self.revoked: dict[str, str] = {}
        """The ids of revoked blocks, each with the token's name."""
        if self._path.exists():
            self.revoked = msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])

    @property
    def public_key(self) -> bytes:
        """The key with which anybody verifies its tokens."""
        return public_key(self.seed)

    def read(self, text: str) -> Token:
        """Return a token of this node; raise UNAUTHENTICATED for any other and a revoked one."""
        token = self._read.get(text)
        if token is None:
            token = read(text, self.public_key)
            self._read[text] = token
            if len(self._read) > READ_MAX:
                self._read.popitem(last=False)
        if any(each in self.revoked for each in token.ids):
            raise UNAUTHENTICATED(f"The token {token.name} was revoked.")
        if any(each in self._ended for each in token.ids):
            raise UNAUTHENTICATED(f"{token.name} has logged out.", hint="skerry login")
        return token

    def end(self, own: str, until: int, now: int) -> None:
        """Refuse a token until a time at which it has ended by itself, in seconds. Blocks.

        Raises CONFLICT if too many are refused already.
        """
        ended = {each: end for each, end in self._ended.items() if end > now}
        if len(ended) >= ENDED_MAX:
            raise CONFLICT(f"{ENDED_MAX} log-ins have ended before their time already.")
        ended[own] = until
        write_secret(self._ended_path, msgspec.json.encode(ended))
        self._ended = ended

    def keep(self, own: str, kept: Kept, now: int) -> None:
        """Remember that a token was minted; `now` is in seconds. Blocks. Raises CONFLICT."""
        minted = {each: known for each, known in self.minted.items() if known.until > now}
        if len(minted) >= MINTED_MAX:
            raise CONFLICT(
                f"{MINTED_MAX} tokens can be used already.",
                hint="Mint them for a shorter time: --until 8h",
            )
        self._keep({**minted, own: kept})

    def _keep(self, minted: dict[str, Kept]) -> None:
        write_secret(self._minted_path, msgspec.json.encode(minted))
        self.minted = minted

    def revoke(self, token: Token) -> str:
        """Revoke a token and all that were narrowed from it; return its id. Blocks."""
        if len(self.revoked) >= REVOKED_MAX:
            raise CONFLICT(f"A node keeps {REVOKED_MAX} revoked tokens at most.")
        own = token.ids[-1]
        revoked = {**self.revoked, own: token.name}
        write_secret(self._path, msgspec.json.encode(revoked))
        self.revoked = revoked
        self._keep({each: kept for each, kept in self.minted.items() if each != own})
        return own


def is_token(text: str) -> bool:
    """Tell whether a credential looks like a token of this kind."""
    return text.startswith(PREFIX)
