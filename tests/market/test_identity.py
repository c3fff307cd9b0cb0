"""Addresses, signatures and tokens: what is good, and every way in which one is not."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.kernel.clock import SystemEntropy
from skerry.kernel.errors import SkerryError
from skerry.market.identity import bech32
from skerry.market.identity.keys import Wallet, address_of, is_address, signed_by
from skerry.market.identity.ripemd import plain_ripemd160
from skerry.market.identity.tokens import (
    Deployments,
    LeaseClaims,
    Leases,
    MessageTokens,
    Permission,
    lease_token,
    message_token,
    read_lease_token,
)

ALICE, BOB = Wallet(b"alice"), Wallet(b"bob")


class At:
    """A clock that stands."""

    def __init__(self, seconds: int = 1_800_000_000) -> None:
        self.seconds = seconds

    def now(self) -> int:
        return self.seconds * 1_000_000_000

    def monotonic(self) -> float:
        return float(self.seconds)


@given(st.binary(min_size=20, max_size=20))
def test_bech32_is_its_own_inverse(data: bytes) -> None:
    text = bech32.encode("akash", data)
    assert bech32.decode("akash", text) == data
    assert bech32.decode("cosmos", text) is None


@given(st.binary(min_size=20, max_size=20), st.integers(6, 43), st.sampled_from("qpzry9x8gf2tvdw0"))
def test_bech32_finds_a_slip(data: bytes, place: int, letter: str) -> None:
    text = bech32.encode("akash", data)
    other = text[:place] + letter + text[place + 1 :]
    assert other == text or bech32.decode("akash", other) is None


def test_the_address_of_a_known_key() -> None:
    # The generator of secp256k1: the public key of the private key 1.
    key = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
    hashed = bytes.fromhex("751e76e8199196d454941c45d1b3a323f1433bd6")
    assert address_of(key) == bech32.encode("akash", hashed)
    assert is_address(address_of(key))


@given(st.binary(max_size=300))
def test_ripemd_without_openssl(data: bytes) -> None:
    try:
        wanted = hashlib.new("ripemd160", data, usedforsecurity=False).digest()
    except ValueError:
        pytest.skip("this OpenSSL has no RIPEMD-160 to compare with")
    assert plain_ripemd160(data) == wanted
    assert plain_ripemd160(b"").hex() == "9c1185a5c5e9fc54612808977ee8f548b2258d31"


@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=200), st.binary(min_size=1, max_size=8))
def test_a_signature_names_its_signer(data: bytes, seed: bytes) -> None:
    wallet = Wallet(seed)
    signature = wallet.sign(data)
    assert signed_by(wallet.address, data, signature)
    assert not signed_by(wallet.address, data + b"x", signature)
    assert not signed_by(ALICE.address, data, signature)


def test_what_is_no_signature() -> None:
    good = ALICE.sign(b"x")
    high = (0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141).to_bytes(32, "big")
    for bad in (b"", good[:-1], bytes(64), b"\xff" * 64, good[:32] + high):
        assert not signed_by(ALICE.address, b"x", bad)


def test_a_lease_token_is_good_until_it_expires() -> None:
    token = lease_token(ALICE, At())
    assert read_lease_token(token, At()).iss == ALICE.address
    for clock in (At(1_800_000_000 + 1000), At(1_800_000_000 - 100)):
        with pytest.raises(SkerryError) as caught:
            read_lease_token(token, clock)
        assert caught.value.code == "UNAUTHENTICATED"


def forge(change: dict[str, Any] | None = None, head: dict[str, str] | None = None) -> str:
    """Return a token whose claims or head were changed before Alice signed it."""
    _, body, _ = lease_token(ALICE, At()).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims |= change or {}
    claims = {key: value for key, value in claims.items() if value is not None}
    parts = [{"alg": "ES256K", "typ": "JWT"} | (head or {}), claims]
    encoded = [
        base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts
    ]
    data = ".".join(encoded)
    signature = base64.urlsafe_b64encode(ALICE.sign(data.encode())).decode().rstrip("=")
    return f"{data}.{signature}"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"iss": BOB.address}, "signature"),
        ({"iss": "akash1qqqq"}, "no address"),
        ({"iss": None}, "cannot be read"),
        ({"iat": None}, "cannot be read"),
        ({"exp": None}, "cannot be read"),
        ({"version": "v2"}, "version"),
        ({"version": None}, "cannot be read"),
        ({"iat": 1_800_009_999}, "contradict"),
        ({"nbf": 1_800_000_100, "iat": 1_800_000_100}, "not yet"),
        ({"exp": 1_700_000_000}, "contradict"),
        ({"leases": {"access": "all"}}, "no access"),
        ({"leases": {"access": "scoped", "scope": ["root"]}}, "no scope"),
        ({"admin": True}, "cannot be read"),
    ],
)
def test_a_wrong_lease_token_is_refused(change: dict[str, Any], why: str) -> None:
    with pytest.raises(SkerryError) as caught:
        read_lease_token(forge(change), At())
    assert why in caught.value.why


@pytest.mark.parametrize("text", ["", "a", "a.b.c", "..", "é.b.c", "a" * 20_000])
def test_what_is_no_token(text: str) -> None:
    with pytest.raises(SkerryError):
        read_lease_token(text, At())


@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES256"])
def test_another_algorithm_is_refused(algorithm: str) -> None:
    with pytest.raises(SkerryError, match="not good"):
        read_lease_token(forge(head={"alg": algorithm}), At())


def test_scopes_narrow_what_a_token_allows() -> None:
    def claims(leases: Leases) -> LeaseClaims:
        return LeaseClaims("a", 0, 0, 1, "v1", leases)

    full = claims(Leases("full"))
    assert full.allow("shell", "p", 1)
    scoped = claims(Leases("scoped", ["logs", "status"]))
    assert scoped.allow("logs", "p", 1)
    assert not scoped.allow("shell", "p", 1)
    one = Deployments(7, ["logs"], ["web"], gseq=1)
    granular = claims(
        Leases(
            "granular",
            permissions=[
                Permission("p", "granular", deployments=[one]),
                Permission("q", "full"),
                Permission("r", "scoped", ["status"]),
            ],
        )
    )
    assert granular.allow("logs", "p", 7, 1, 1, "web")
    assert not granular.allow("logs", "p", 7, 2, 1, "web")
    assert not granular.allow("logs", "p", 7, 1, 1, "api")
    assert not granular.allow("shell", "p", 7, 1)
    assert not granular.allow("logs", "p", 8, 1)
    assert granular.allow("shell", "q", 1)
    assert granular.allow("status", "r", 1)
    assert not granular.allow("logs", "r", 1)
    assert not granular.allow("logs", "x", 7)


def test_a_message_token_is_good_once_for_one_body_and_one_market() -> None:
    tokens = MessageTokens(At())
    token = message_token(ALICE, At(), SystemEntropy(), "akash1market", b"body")
    for market, body in (("akash1other", b"body"), ("akash1market", b"bodies")):
        with pytest.raises(SkerryError, match="not good"):
            tokens.read(token, market, body)
    assert tokens.read(token, "akash1market", b"body") == ALICE.address
    with pytest.raises(SkerryError, match="came before"):
        tokens.read(token, "akash1market", b"body")


def test_what_was_seen_is_forgotten_when_it_expired() -> None:
    clock = At()
    tokens = MessageTokens(clock)
    for _ in range(5):
        token = message_token(ALICE, clock, SystemEntropy(), "m", b"x")
        tokens.read(token, "m", b"x")
        clock.seconds += 60
    assert len(tokens._seen) <= 3


def test_a_wallet_does_not_show_its_key() -> None:
    assert repr(ALICE) == f"Wallet({ALICE.address})"
