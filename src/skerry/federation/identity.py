"""A node's identity: an Ed25519 key, and certificates that it signs for itself.

The key is made once. Its own certificate authority signs nothing but this node's short-lived
certificates, so that a peer that knows the authority's certificate can verify all of them, and
needs no third party. A certificate names its node as a SPIFFE id
(https://spiffe.io/docs/latest/spiffe-specs/spiffe-id): `spiffe://<node id>/node/<name>`.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID

from skerry.kernel.clock import Clock
from skerry.kernel.errors import UNAUTHENTICATED
from skerry.node.home import write_secret

AUTHORITY_DAYS = 3650
CERTIFICATE_HOURS = 24
SKEW = datetime.timedelta(minutes=10)
"""How far the clock of a peer may be behind ours."""

ID_LETTERS = 20


class Identity:
    """The key of this node, and what it signs."""

    def __init__(self, key: Ed25519PrivateKey, name: str, clock: Clock) -> None:
        self._key = key
        self._name = name
        self._clock = clock
        self.public_key = public_bytes(key.public_key())
        self.id = id_of(self.public_key)

    def __repr__(self) -> str:
        return f"Identity({self.id})"

    @classmethod
    def load(cls, path: Path, name: str, clock: Clock) -> Identity:
        """Read the key at `path`, made if it is not there; only the node's user may read it."""
        if not path.exists():
            write_secret(path, _private_pem(Ed25519PrivateKey.generate()))
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        assert isinstance(key, Ed25519PrivateKey), path
        return cls(key, name, clock)

    def sign(self, data: bytes) -> bytes:
        """Return the 64 bytes of a signature (RFC 8032)."""
        return self._key.sign(data)

    def authority(self) -> bytes:
        """Return the certificate of this node's authority, PEM."""
        subject = _subject(self.id)
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        made = self._builder(subject, datetime.timedelta(days=AUTHORITY_DAYS)).add_extension(
            constraints, critical=True
        )
        certificate = made.public_key(self._key.public_key()).sign(self._key, None)
        return certificate.public_bytes(serialization.Encoding.PEM)

    def certificate(self, hosts: Iterable[str] = ()) -> bytes:
        """Return a new key and its certificate, valid for a day, PEM.

        It names hosts as well, for programs that compare a certificate with the address they call.
        """
        key = Ed25519PrivateKey.generate()
        own = x509.UniformResourceIdentifier(f"spiffe://{self.id}/node/{self._name}")
        names = [own, *map(_host_name, dict.fromkeys(hosts))]
        made = (
            self._builder(_subject(self._name), datetime.timedelta(hours=CERTIFICATE_HOURS))
            .public_key(key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self._key, None)
        )
        return _private_pem(key) + made.public_bytes(serialization.Encoding.PEM)

    def _builder(self, subject: x509.Name, valid: datetime.timedelta) -> x509.CertificateBuilder:
        start = datetime.datetime.fromtimestamp(self._clock.now() / 1e9, datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_subject(self.id))
            .serial_number(x509.random_serial_number())
            .not_valid_before(start - SKEW)
            .not_valid_after(start + valid)
        )


def id_of(public_key: bytes) -> str:
    """Return the id of a node: 20 letters of base32 over the SHA-256 of its public key."""
    digest = hashlib.sha256(public_key).digest()
    return base64.b32encode(digest).decode().lower()[:ID_LETTERS]


def public_bytes(key: Ed25519PublicKey) -> bytes:
    """Return the 32 bytes of a public key."""
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def verify(public_key: bytes, signature: bytes, data: bytes) -> None:
    """Raise UNAUTHENTICATED unless the holder of a key has signed the data."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError) as error:
        raise UNAUTHENTICATED("The signature is not that node's.") from error


def authority_key(pem: bytes) -> bytes:
    """Return the public key of an authority's certificate; raise UNAUTHENTICATED if it is none.

    The certificate must be signed with its own key.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise UNAUTHENTICATED("The certificate of that node cannot be read.") from error
    key = certificate.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise UNAUTHENTICATED("The certificate of that node has no Ed25519 key.")
    found = public_bytes(key)
    verify(found, certificate.signature, certificate.tbs_certificate_bytes)
    return found


def signer_of(der: bytes) -> str:
    """Return the id of the node that a certificate names; whether it may is not said."""
    certificate = x509.load_der_x509_certificate(der)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    first = uris[0] if uris else ""
    return first.removeprefix("spiffe://").partition("/")[0]


def check_certificate(der: bytes, public_key: bytes) -> None:
    """Raise UNAUTHENTICATED unless the node with this key has signed a certificate for itself.

    TLS has verified that *some* peer's authority signed it. This is what keeps one peer from
    naming itself as another.
    """
    certificate = x509.load_der_x509_certificate(der)
    verify(public_key, certificate.signature, certificate.tbs_certificate_bytes)
    if signer_of(der) != id_of(public_key):
        raise UNAUTHENTICATED("The certificate names another node.")


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
