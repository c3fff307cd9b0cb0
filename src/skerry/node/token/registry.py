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


class Registry:
    """Reads and revokes tokens. Opening it blocks."""

    def __init__(self, node_key: bytes, folder: Path) -> None:
        self.seed = derive(node_key, "tokens")
        self._path = folder / "revoked.json"
        self._read: OrderedDict[str, Token] = OrderedDict()
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
        return token

    def revoke(self, token: Token) -> str:
        """Revoke a token and all that were narrowed from it; return its id. Blocks."""
        if len(self.revoked) >= REVOKED_MAX:
            raise CONFLICT(f"A node keeps {REVOKED_MAX} revoked tokens at most.")
        own = token.ids[-1]
        revoked = {**self.revoked, own: token.name}
        write_secret(self._path, msgspec.json.encode(revoked))
        self.revoked = revoked
        return own


def is_token(text: str) -> bool:
    """Tell whether a credential looks like a token of this kind."""
    return text.startswith(PREFIX)
