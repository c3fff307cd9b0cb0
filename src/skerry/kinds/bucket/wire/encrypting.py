"""Server-side encryption: which one a request asks for, and what an answer says of it."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping

import msgspec

from skerry.kinds._shared.s3 import xml
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket.account import Account
from skerry.kinds.bucket.state import crypt
from skerry.kinds.bucket.state.records import Bucket, Encryption, Version

_MODE = "x-amz-server-side-encryption"
_KMS_KEY = f"{_MODE}-aws-kms-key-id"
_CUSTOMER = f"{_MODE}-customer-"
_COPY_CUSTOMER = "x-amz-copy-source-server-side-encryption-customer-"
CUSTOMER = "customer"
DEFAULT_KMS_KEY = "alias/aws/s3"


class Default(msgspec.Struct, frozen=True):
    """A bucket's default encryption."""

    mode: str
    key: str = ""


def asked(headers: Mapping[str, str], bucket: Bucket) -> Encryption | None:
    """Return the encryption for a new object: the request's, or the bucket's default."""
    mode, kms_key = headers.get(_MODE), headers.get(_KMS_KEY, "")
    customer = _customer_key(headers, _CUSTOMER)
    if customer is not None:
        if mode is not None:
            raise S3Error("InvalidArgument", "Two kinds of encryption were asked for.")
        digest = base64.b64encode(hashlib.md5(customer, usedforsecurity=False).digest())
        print_ = crypt.fingerprint(customer, crypt.new_nonce())
        return Encryption(CUSTOMER, key_md5=digest.decode(), fingerprint=print_)
    if mode is None:
        if kms_key:
            raise S3Error("InvalidArgument", f"{_KMS_KEY} needs {_MODE}: aws:kms.")
        default: Default | None = bucket.load("encryption", Default)
        return None if default is None else Encryption(default.mode, default.key)
    if mode not in ("AES256", "aws:kms"):
        raise S3Error("InvalidArgument", "The encryption method specified is not supported.")
    if mode == "AES256" and kms_key:
        raise S3Error("InvalidArgument", f"{_KMS_KEY} needs {_MODE}: aws:kms.")
    return Encryption(mode, kms_key or (DEFAULT_KMS_KEY if mode == "aws:kms" else ""))


def key_for(
    account: Account,
    encryption: Encryption | None,
    headers: Mapping[str, str],
    *,
    copy_source: bool = False,
) -> crypt.Key | None:
    """Return the key of a content, which the customer must bring if it is the customer's.

    Raise InvalidRequest if it is missing, not asked for or wrong.
    """
    given = _customer_key(headers, _COPY_CUSTOMER if copy_source else _CUSTOMER)
    if encryption is None or encryption.mode != CUSTOMER:
        if given is not None:
            raise S3Error("InvalidRequest", "The object is not encrypted with a customer's key.")
        return None if encryption is None else crypt.own_key(account.keys, encryption)
    if given is None:
        raise S3Error(
            "InvalidRequest",
            "The object was stored using a form of Server Side Encryption. The correct "
            "parameters must be provided to retrieve the object.",
        )
    if not crypt.fits(given, encryption.fingerprint):
        raise S3Error("InvalidRequest", "The provided encryption key is not the object's.")
    return crypt.Key(given)


def headers_of(encryption: Encryption | None) -> list[tuple[str, str]]:
    """Return what an answer says of the encryption."""
    if encryption is None:
        return []
    if encryption.mode == CUSTOMER:
        return [
            (f"{_CUSTOMER}algorithm", "AES256"),
            (f"{_CUSTOMER}key-md5", encryption.key_md5),
        ]
    found = [(_MODE, encryption.mode)]
    if encryption.key:
        found.append((_KMS_KEY, encryption.key))
    return found


def refuse_on_read(headers: Mapping[str, str], version: Version) -> None:
    """Raise InvalidArgument if a read asks to encrypt, which only a write can."""
    if _MODE in headers and not version.marker:
        raise S3Error("InvalidArgument", f"{_MODE} is not for reading.")


def _customer_key(headers: Mapping[str, str], prefix: str) -> bytes | None:
    names = [f"{prefix}{name}" for name in ("algorithm", "key", "key-md5")]
    given = [headers.get(name) for name in names]
    if given == [None, None, None]:
        return None
    algorithm, text, digest = given
    if algorithm is None or text is None or digest is None:
        missing = names[given.index(None)]
        raise S3Error("InvalidArgument", f"A customer's key needs the header {missing}.")
    if algorithm != "AES256":
        raise S3Error("InvalidArgument", "The customer's algorithm must be AES256.")
    try:
        key = base64.b64decode(text, validate=True)
        right = base64.b64decode(digest, validate=True)
    except (binascii.Error, ValueError) as error:
        raise S3Error("InvalidArgument", "The customer's key is not base64.") from error
    if len(key) != 32:
        raise S3Error("InvalidArgument", "The customer's key must have 256 bits.")
    if hashlib.md5(key, usedforsecurity=False).digest() != right:
        raise S3Error("InvalidArgument", "The MD5 of the customer's key does not match.")
    return key


def default_from_xml(root: xml.Element) -> Default:
    """Read a ServerSideEncryptionConfiguration; raise MalformedXMLError."""
    rule = root.find("Rule")
    apply = rule.find("ApplyServerSideEncryptionByDefault") if rule else None
    mode = apply.get("SSEAlgorithm") if apply else ""
    if apply is None or mode not in ("AES256", "aws:kms"):
        raise S3Error("MalformedXML", "A rule with SSEAlgorithm AES256 or aws:kms is needed.")
    key = apply.get("KMSMasterKeyID")
    if mode == "AES256" and key:
        raise S3Error("InvalidArgument", "KMSMasterKeyID is for aws:kms only.")
    return Default(mode, key or (DEFAULT_KMS_KEY if mode == "aws:kms" else ""))


def default_to_xml(default: Default) -> xml.Element:
    """Return the ServerSideEncryptionConfiguration."""
    root = xml.Element("ServerSideEncryptionConfiguration")
    rule = root.add("Rule")
    apply = rule.add("ApplyServerSideEncryptionByDefault")
    apply.add("SSEAlgorithm", default.mode)
    if default.key:
        apply.add("KMSMasterKeyID", default.key)
    rule.add("BucketKeyEnabled", "false")
    return root
