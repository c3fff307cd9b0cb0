"""Biscuit tokens (biscuitsec.org): made and verified with one key, narrowed with none.

    skb_<public key of who minted it>.<biscuit>      both in URL-safe base64

The public key in front tells whoever narrows and looks which node made the token. A node that
verifies takes its own key, never that one.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import re
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from skerry.kernel.errors import EXTRA_MISSING, INVALID, UNAUTHENTICATED
from skerry.node.token.limits import Limits

if TYPE_CHECKING:
    import biscuit_auth

PREFIX = "skb_"
LETTERS_MAX = 16_384
BLOCKS_MAX = 20
DECISION_SECONDS = 1.0
_USER = re.compile(r'user\("([^"]*)"\)')
_LITERAL = re.compile(r'"([^"\\]*)"')


class Token(NamedTuple):
    """A token whose signatures were verified with a key; whether it allows anything is not said."""

    name: str
    issuer: bytes
    ids: tuple[str, ...]
    blocks: tuple[str, ...]
    biscuit: biscuit_auth.Biscuit

    @property
    def literals(self) -> list[str]:
        """Every text that stands in its checks."""
        return sorted({each for block in self.blocks for each in _LITERAL.findall(block)})

    def __repr__(self) -> str:
        return f"Token({self.name})"


def mint(seed: bytes, name: str, limits: Limits) -> str:
    """Return a new token, signed with the key of a 32-byte seed."""
    auth = library()
    key = auth.PrivateKey.from_bytes(seed, auth.Algorithm.Ed25519)
    made = auth.BiscuitBuilder(f'user("{name}");\n{limits.datalog()}').build(key)
    return _text(public_key(seed), made)


def narrow(text: str, limits: Limits) -> str:
    """Return a token that allows what this one does, within limits; needs no key but those in it.

    Raises INVALID if it is no token, or would have too many blocks.
    """
    token = read(text, None)
    if len(token.blocks) >= BLOCKS_MAX:
        raise INVALID(f"A token is narrowed at most {BLOCKS_MAX - 1} times.")
    made = token.biscuit.append(library().BlockBuilder(limits.datalog()))
    return _text(token.issuer, made)


def read(text: str, key: bytes | None) -> Token:
    """Return a token that the holder of a public key has minted, or of the key that it names.

    Raises INVALID if it is none, UNAUTHENTICATED if another key signed it.
    """
    auth = library()
    issuer, biscuit = _parts(text)
    if key is not None and issuer != key:
        raise UNAUTHENTICATED("That token was minted by another node.")
    try:
        public = auth.PublicKey.from_bytes(key or issuer, auth.Algorithm.Ed25519)
        found = auth.Biscuit.from_base64(biscuit, public)
    except (auth.BiscuitValidationError, ValueError) as error:
        raise UNAUTHENTICATED("The token's signatures do not hold.") from error
    count = found.block_count()
    if count > BLOCKS_MAX:
        raise INVALID("The token has too many blocks.")
    blocks = tuple(str(found.block_source(number)).strip() for number in range(count))
    named = _USER.search(blocks[0])
    return Token(named[1] if named else "", issuer, tuple(found.revocation_ids), blocks, found)


def allows(token: Token, facts: str) -> str:
    """Return '' if a token allows a request with these facts, else the check that fails."""
    auth = library()
    try:
        _authorizer(facts).build(token.biscuit).authorize()
    except auth.AuthorizationError as error:
        return str(error).rpartition("following checks failed: ")[2][:500]
    return ""


def _authorizer(facts: str) -> Any:
    """Return an authorizer of facts. The library's millisecond is too short on a busy machine."""
    made = library().AuthorizerBuilder(f"{facts}\nallow if true;")
    limits = made.limits()
    limits.max_time = datetime.timedelta(seconds=DECISION_SECONDS)
    made.set_limits(limits)
    return made


def public_key(seed: bytes) -> bytes:
    """Return the public key of a seed."""
    auth = library()
    private = auth.PrivateKey.from_bytes(seed, auth.Algorithm.Ed25519)
    return bytes(auth.KeyPair.from_private_key(private).public_key.to_bytes())


def _text(issuer: bytes, made: biscuit_auth.Biscuit) -> str:
    return f"{PREFIX}{base64.urlsafe_b64encode(issuer).decode().rstrip('=')}.{made.to_base64()}"


def _parts(text: str) -> tuple[bytes, str]:
    text = text.strip()
    key, dot, biscuit = text.removeprefix(PREFIX).partition(".")
    try:
        issuer = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
    except (binascii.Error, ValueError):
        issuer = b""
    if not text.startswith(PREFIX) or not dot or len(issuer) != 32 or len(text) > LETTERS_MAX:
        raise INVALID("This is no token.", why=f"It begins with {PREFIX} and is one long word.")
    return issuer, biscuit


def library() -> ModuleType:
    """Return the library; raise EXTRA_MISSING without it."""
    try:
        import biscuit_auth as found  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise EXTRA_MISSING(
            "Tokens need the package biscuit-python.", hint="pip install 'skerry[tokens]'"
        ) from error
    made: ModuleType = found
    return made
