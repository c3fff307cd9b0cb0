"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, as server and as client.

The server needs a *verifier* only, never the password. From a successful proof it learns the client
key, which lets it log in elsewhere with the same verifier, again without the password.

Source: RFC 5802, RFC 7677, RFC 5929 (tls-server-end-point).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

ITERATIONS = 4096
"""What PostgreSQL uses; both ends of a relayed log-in must agree."""

MAX_MESSAGE_BYTES = 2048
PLAIN = "SCRAM-SHA-256"
PLUS = "SCRAM-SHA-256-PLUS"


class ScramError(Exception):
    """The peer broke the protocol of the exchange."""


class ProofError(ScramError):
    """The peer does not know the password."""


@dataclass(frozen=True, slots=True, repr=False)
class Verifier:
    """What a server keeps of a password."""

    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes

    def __str__(self) -> str:
        """Return the form in which PostgreSQL stores it (`pg_authid.rolpassword`)."""
        salt, stored, server = map(_encode, (self.salt, self.stored_key, self.server_key))
        return f"{PLAIN}${self.iterations}:{salt}${stored}:{server}"


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """What logs a role in without its password: the client key, and the verifier that it fits."""

    client_key: bytes
    verifier: Verifier


def make_credential(password: str, salt: bytes, iterations: int = ITERATIONS) -> Credential:
    """Derive what logs a role in from its ASCII password; costs some milliseconds of CPU."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    key = _hmac(salted, b"Client Key")
    stored = hashlib.sha256(key).digest()
    return Credential(key, Verifier(iterations, salt, stored, _hmac(salted, b"Server Key")))


def make_verifier(password: str, salt: bytes, iterations: int = ITERATIONS) -> Verifier:
    """Derive the verifier of an ASCII password."""
    return make_credential(password, salt, iterations).verifier


def parse_verifier(text: str) -> Verifier:
    """Read PostgreSQL's form; raise ValueError if it is none."""
    scheme, _, rest = text.partition("$")
    parameters, _, keys = rest.partition("$")
    iterations, _, salt = parameters.partition(":")
    stored, _, server = keys.partition(":")
    if scheme != PLAIN:
        raise ValueError("not a SCRAM-SHA-256 verifier")
    verifier = Verifier(int(iterations), _decode(salt), _decode(stored), _decode(server))
    if len(verifier.stored_key) != 32 or len(verifier.server_key) != 32 or not verifier.salt:
        raise ValueError("not a SCRAM-SHA-256 verifier")
    return verifier


def mock_verifier(secret: bytes, user: str) -> Verifier:
    """Return a verifier that no password fits, the same at each try: probing learns nothing."""
    salt = hmac.digest(secret, b"salt " + user.encode(), hashlib.sha256)[:16]
    unknown = hmac.digest(secret, b"key " + user.encode(), hashlib.sha256)
    return Verifier(ITERATIONS, salt, unknown, unknown)


class ServerExchange:
    """The server's side of one log-in: `first`, then `final`, then `client_key` is known."""

    def __init__(self, verifier: Verifier, nonce: bytes, binding: bytes | None) -> None:
        self._verifier = verifier
        self._nonce = base64.b64encode(nonce)
        self._binding = binding
        self._header = b""
        self._first_bare = b""
        self._server_first = b""
        self._plus = False
        self.client_key = b""

    def first(self, mechanism: str, message: bytes) -> bytes:
        """Answer client-first-message; raise ScramError if it is malformed or a downgrade."""
        if len(message) > MAX_MESSAGE_BYTES:
            raise ScramError("the first SASL message is too long")
        flag, _, rest = message.partition(b",")
        identity, _, bare = rest.partition(b",")
        self._plus = mechanism == PLUS
        self._check_flag(flag)
        if identity and not identity.startswith(b"a="):
            raise ScramError("malformed SCRAM message")
        self._header = flag + b"," + identity + b","
        fields = _fields(bare, b"n", b"r")
        self._first_bare = bare
        self._full_nonce = fields[b"r"] + self._nonce
        self._server_first = b"r=%s,s=%s,i=%d" % (
            self._full_nonce,
            base64.b64encode(self._verifier.salt),
            self._verifier.iterations,
        )
        return self._server_first

    def final(self, message: bytes) -> bytes:
        """Check client-final-message, return the server's signature; raise ProofError if wrong."""
        if len(message) > MAX_MESSAGE_BYTES:
            raise ScramError("the final SASL message is too long")
        without_proof, separator, proof_text = message.rpartition(b",p=")
        fields = _fields(without_proof, b"c", b"r")
        if not separator or not hmac.compare_digest(fields[b"r"], self._full_nonce):
            raise ScramError("SCRAM nonce does not match")
        expected = self._header + (self._binding or b"" if self._plus else b"")
        if not hmac.compare_digest(_decode_bytes(fields[b"c"]), expected):
            raise ScramError("SCRAM channel binding check failed")
        proof = _decode_bytes(proof_text)
        if len(proof) != 32:
            raise ScramError("malformed SCRAM proof")
        transcript = b",".join((self._first_bare, self._server_first, without_proof))
        key = _xor(proof, _hmac(self._verifier.stored_key, transcript))
        if not hmac.compare_digest(hashlib.sha256(key).digest(), self._verifier.stored_key):
            raise ProofError("the password is wrong")
        self.client_key = key
        return b"v=" + base64.b64encode(_hmac(self._verifier.server_key, transcript))

    def _check_flag(self, flag: bytes) -> None:
        if self._plus:
            if flag != b"p=tls-server-end-point" or self._binding is None:
                raise ScramError("unsupported SCRAM channel-binding type")
        elif flag == b"y" and self._binding is not None:
            raise ScramError("the client was told that there is no channel binding, but there is")
        elif flag not in (b"n", b"y"):
            raise ScramError("malformed SCRAM message")


class ClientExchange:
    """The client's side of one log-in, with the client key instead of the password."""

    def __init__(self, client_key: bytes, verifier: Verifier, nonce: bytes) -> None:
        self._client_key = client_key
        self._verifier = verifier
        self._nonce = base64.b64encode(nonce)
        self._bare = b"n=,r=" + self._nonce
        self._transcript = b""

    def first(self) -> bytes:
        """Return client-first-message."""
        return b"n,," + self._bare

    def final(self, server_first: bytes) -> bytes:
        """Answer server-first-message; raise ProofError if the server has another verifier."""
        fields = _fields(server_first, b"r", b"s", b"i")
        if not fields[b"r"].startswith(self._nonce):
            raise ScramError("SCRAM nonce does not match")
        salt, iterations = _decode_bytes(fields[b"s"]), fields[b"i"]
        if salt != self._verifier.salt or iterations != b"%d" % self._verifier.iterations:
            raise ProofError("the role's password has changed")
        without_proof = b"c=biws,r=" + fields[b"r"]
        self._transcript = b",".join((self._bare, server_first, without_proof))
        stored = hashlib.sha256(self._client_key).digest()
        proof = _xor(self._client_key, _hmac(stored, self._transcript))
        return without_proof + b",p=" + base64.b64encode(proof)

    def verify(self, server_final: bytes) -> None:
        """Check the server's signature; raise ProofError if it is not the server we know."""
        expected = b"v=" + base64.b64encode(_hmac(self._verifier.server_key, self._transcript))
        if not hmac.compare_digest(server_final, expected):
            raise ProofError("the server does not know the role")


def challenge(server_first: bytes) -> tuple[bytes, int]:
    """Return the salt and the iterations that a server asks for; raise ScramError."""
    fields = _fields(server_first, b"r", b"s", b"i")
    if not fields[b"i"].isdigit() or not 0 < len(fields[b"i"]) < 10:
        raise ScramError("malformed SCRAM message")
    return _decode_bytes(fields[b"s"]), max(1, int(fields[b"i"]))


def _fields(message: bytes, *names: bytes) -> dict[bytes, bytes]:
    fields = dict(part.split(b"=", 1) for part in message.split(b",") if part[1:2] == b"=")
    if any(name not in fields for name in names) or b"m" in fields:
        raise ScramError("malformed SCRAM message")
    return fields


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, hashlib.sha256)


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(left ^ right for left, right in zip(one, other, strict=True))


def _encode(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _decode_bytes(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ScramError("malformed base64 in a SCRAM message") from error
