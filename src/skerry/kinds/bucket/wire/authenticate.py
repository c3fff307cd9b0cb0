"""Finding out who sent a request: a signature in the header or in the query, or nobody."""

from __future__ import annotations

from skerry.kinds.bucket.account import ANONYMOUS, Account, Identity
from skerry.kinds.bucket.wire.call import Call
from skerry.kinds.bucket.wire.proof import prove, unknown_key


def authenticate(call: Call) -> None:
    """Set the call's identity; raise S3Error if a presented signature is not right."""
    account = call.account

    def secret_of(access_key: str) -> str:
        return identify(account, access_key).secret

    accepts_v2 = account.config.signature_v2
    proof = prove(call.asked, secret_of, call.now, signature_v2=accepts_v2)
    call.identity = identify(account, proof.access_key) if proof.access_key else ANONYMOUS
    call.payload, call.seal = proof.payload, proof.seal


def identify(account: Account, access_key: str) -> Identity:
    """Return the user of an access key; raise InvalidAccessKeyId."""
    found = account.identities.get(access_key)
    if found is None:
        raise unknown_key(access_key)
    return found
