"""ID tokens that must not count, whoever made them."""

from __future__ import annotations

import base64
import hmac
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from skerry.kernel.errors import CONFIG_INVALID, UNAUTHENTICATED, SkerryError
from skerry.node.identity.calls import check_url
from skerry.node.identity.claims import UnknownKeyError, groups_in, verified
from skerry.node.identity.handler import NAME_LETTERS, name_of
from skerry.node.identity.provider import Person, challenge_of

NOW = 1_800_000_000
ISSUER, CLIENT, NONCE = "https://id.example.org", "skerry", "n0nce"
KEY = ECKey.generate_key("P-256", {"kid": "one", "use": "sig"})
OTHER = ECKey.generate_key("P-256", {"kid": "two", "use": "sig"})
RSA = RSAKey.generate_key(2048, {"kid": "three", "use": "sig"})
SET = KeySet([KEY, RSA]).as_dict(private=False)
GOOD: dict[str, Any] = {
    "iss": ISSUER,
    "sub": "248289761001",
    "aud": CLIENT,
    "exp": NOW + 300,
    "iat": NOW - 5,
    "nonce": NONCE,
    "groups": ["developers"],
}


def signed(claims: dict[str, Any], key: Any = KEY, **header: str) -> str:
    head = {"alg": "ES256", "kid": key.kid or "one", **header}
    return jwt.encode(head, claims, key, algorithms=[head["alg"]])


def plain(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def read(token: str) -> dict[str, Any]:
    return verified(token, SET, issuer=ISSUER, client=CLIENT, nonce=NONCE, now=NOW)


def test_what_is_right_counts() -> None:
    assert read(signed(GOOD)) == GOOD
    assert read(signed(GOOD, RSA, alg="RS256"))["sub"] == GOOD["sub"]
    assert read(signed(GOOD | {"aud": [CLIENT, "x"], "azp": CLIENT}))["azp"] == CLIENT


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://id.example.org/"},
        {"aud": "other"},
        {"aud": [CLIENT, "other"]},
        {"aud": [CLIENT, "other"], "azp": "other"},
        {"azp": "other"},
        {"exp": NOW - 61},
        {"iat": NOW + 61},
        {"iat": NOW - 601},
        {"nonce": "another"},
        {"sub": ""},
        {"sub": 7},
        *({each: None} for each in ("iss", "sub", "aud", "exp", "iat", "nonce")),
    ],
)
def test_claims_that_do_not_hold(change: dict[str, Any]) -> None:
    claims = {key: value for key, value in (GOOD | change).items() if value is not None}
    with pytest.raises(SkerryError) as raised:
        read(signed(claims))
    assert raised.value.problem is UNAUTHENTICATED


def test_signatures_that_do_not_hold() -> None:
    good = signed(GOOD)
    head, body, signature = good.split(".")
    unsigned = signed(GOOD).split(".")[1]
    none = "eyJhbGciOiJub25lIn0." + unsigned + "."
    shared = plain(b'{"alg":"HS256","kid":"three"}') + "." + unsigned
    mark = hmac.new(RSA.as_pem(private=False), shared.encode(), "sha256").digest()
    confused = f"{shared}.{plain(mark)}"
    spoiled = f"{head}.{body}.{signature[:-8]}AAAAAAAA"
    for token in (none, confused, spoiled, f"{head}.{body}", "", "x" * 70_000):
        with pytest.raises(SkerryError) as raised:
            read(token)
        assert raised.value.problem is UNAUTHENTICATED, token[:40]
    with pytest.raises((SkerryError, UnknownKeyError)):
        read(signed(GOOD, OTHER))
    with pytest.raises(SkerryError):
        read(signed(GOOD, OTHER, kid="one"))


def test_sets_hold_other_keys_too() -> None:
    odd = [{"kty": "oct", "k": "AAAA", "kid": "one"}, {"kty": "future", "kid": "x"}, "?"]
    enc = {**RSA.as_dict(private=False), "use": "enc", "kid": "four"}
    keys = {"keys": [*odd, enc, *SET["keys"]]}
    said: dict[str, Any] = {"issuer": ISSUER, "client": CLIENT, "nonce": NONCE, "now": NOW}
    assert verified(signed(GOOD), keys, **said) == GOOD
    with pytest.raises(UnknownKeyError):
        verified(signed(GOOD, RSA, alg="RS256", kid="four"), keys, **said)
    nothing: list[dict[str, Any]] = [{"keys": []}, {}, {"keys": None}]
    for none in nothing:
        with pytest.raises((SkerryError, UnknownKeyError)):
            verified(signed(GOOD), none, **said)


def test_groups_stand_where_the_operator_says() -> None:
    claims = {"groups": ["a", 7, "b"], "realm_access": {"roles": ["c"]}, "x.y": "d"}
    assert groups_in(claims, "groups") == ["a", "b"]
    assert groups_in(claims, "realm_access.roles") == ["c"]
    assert groups_in(claims, "x.y") == ["d"], "names of claims may have dots"
    assert groups_in(claims, "nowhere.at.all") is None


def test_names_are_readable_and_nobody_else_s() -> None:
    one, two = (name_of(ISSUER, Person(sub, "Ada Łovelace <ada@x>", ())) for sub in "12")
    assert one.startswith("ada-ovelace-ada-x-") and one != two
    assert name_of(ISSUER, Person("1", "7 of 9", ())).startswith("p-7-of-9-")
    assert len(name_of(ISSUER, Person("1", "a" * 300, ()))) <= NAME_LETTERS + 12


def test_only_safe_addresses_are_called() -> None:
    for good in ("https://id.example.org/x", "http://127.0.0.1:9", "http://localhost:9"):
        check_url(good)
    for bad in ("http://id.example.org", "https://u:p@id.example.org", "file:///etc/passwd", ""):
        with pytest.raises(SkerryError) as raised:
            check_url(bad)
        assert raised.value.problem is CONFIG_INVALID
    # The example of RFC 7636, appendix B.
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
