"""SCRAM: both ends, the example of RFC 7677, and peers that cheat."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.kinds._shared.pgwire import scram
from skerry.kinds._shared.pgwire.scram import (
    ClientExchange,
    ProofError,
    ScramError,
    ServerExchange,
    make_credential,
    make_verifier,
    parse_verifier,
)

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
VERIFIER = make_verifier("pencil", SALT)
KEY = make_credential("pencil", SALT).client_key


def log_in(password: str, binding: bytes | None = None) -> ServerExchange:
    server = ServerExchange(VERIFIER, b"server", binding)
    client = ClientExchange(make_credential(password, SALT).client_key, VERIFIER, b"client")
    challenge = server.first(scram.PLAIN, client.first())
    client.verify(server.final(client.final(challenge)))
    return server


def test_the_example_of_rfc_7677_is_accepted() -> None:
    server = ServerExchange(VERIFIER, b"", None)
    nonce = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    server._nonce = nonce.removeprefix(b"rOprNGfwEbeRWgbNEkqO")
    challenge = server.first(scram.PLAIN, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    assert challenge == b"r=" + nonce + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    answer = b"c=biws,r=" + nonce + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    assert server.final(answer) == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    assert server.client_key == KEY


def test_the_client_key_is_learnt_from_the_proof() -> None:
    assert log_in("pencil").client_key == KEY


def test_a_wrong_password_is_told_from_a_broken_peer() -> None:
    with pytest.raises(ProofError):
        log_in("pen")


def test_a_verifier_reads_back_as_postgres_writes_it() -> None:
    assert parse_verifier(str(VERIFIER)) == VERIFIER


@given(st.text(max_size=120))
def test_what_is_no_verifier_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_verifier(text)


def test_a_mock_is_the_same_each_time_and_fits_nothing() -> None:
    one, two = (scram.mock_verifier(b"secret", "nobody") for _ in range(2))
    assert one == two
    assert one.salt != scram.mock_verifier(b"secret", "somebody").salt


def test_the_channel_is_bound_to_the_certificate() -> None:
    for seen, accepted in ((b"certificate", True), (b"another", False)):
        server = ServerExchange(VERIFIER, b"server", b"certificate")
        first = b"p=tls-server-end-point,,n=,r=abc"
        challenge = server.first(scram.PLUS, first)
        header = base64.b64encode(b"p=tls-server-end-point,," + seen)
        nonce = challenge.split(b",")[0]
        without = b"c=" + header + b"," + nonce
        transcript = b"n=,r=abc," + challenge + b"," + without
        signature = scram._hmac(VERIFIER.stored_key, transcript)
        proof = base64.b64encode(scram._xor(KEY, signature))
        if accepted:
            assert server.final(without + b",p=" + proof)
        else:
            with pytest.raises(ScramError, match="channel binding"):
                server.final(without + b",p=" + proof)


def test_a_downgrade_is_noticed() -> None:
    server = ServerExchange(VERIFIER, b"server", b"certificate")
    with pytest.raises(ScramError, match="channel binding"):
        server.first(scram.PLAIN, b"y,,n=,r=abc")


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_garbage_is_an_error_of_the_protocol(first: bytes, final: bytes) -> None:
    server = ServerExchange(VERIFIER, b"server", None)
    with pytest.raises(ScramError):
        server.first(scram.PLAIN, first)
        server.final(final)
    server = ServerExchange(VERIFIER, b"server", None)
    server.first(scram.PLAIN, b"n,,n=,r=abc")
    with pytest.raises(ScramError):
        server.final(final)


def test_a_server_that_does_not_know_the_role_is_noticed() -> None:
    client = ClientExchange(KEY, VERIFIER, b"client")
    stranger = ServerExchange(make_verifier("other", SALT), b"server", None)
    client.final(stranger.first(scram.PLAIN, client.first()))
    with pytest.raises(ProofError):
        client.verify(b"v=" + base64.b64encode(b"x" * 32))
