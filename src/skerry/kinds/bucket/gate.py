"""Whom the S3 wire lets in while the resource sleeps.

Let in is whatever the state has a say in: requests without a signature, for a bucket may be open to
anybody; forms, whose signature is in the body; and what a browser asks from another origin, for the
bucket's rules are told with each answer, refusals included.

Which users there are stands in the state too. Their secrets do not: they are derived from their
access keys. So a right signature of a user who was removed is let in, for the engine to refuse, and
a wrong one is told to be wrong also where there never was such a user.
"""

from __future__ import annotations

import re

from skerry.kernel.kind import Head, Resource, Response
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds.bucket import claim
from skerry.kinds.bucket.config import BucketConfig
from skerry.kinds.bucket.wire import framing, heads
from skerry.kinds.bucket.wire.proof import SecretOf, prove, unknown_key

_SUFFIX = re.compile(r"[A-Z2-7]{4}|")


def gate(head: Head, resource: Resource, now: int) -> Response | None:
    """See `kernel.kind.Gate`."""
    if head.method == b"OPTIONS" or head.header(b"origin") is not None:
        return None
    config: BucketConfig = resource.config
    try:
        asked = heads.read(head, resource.ref, config.domains)
        if not asked.signs_in_form:
            prove(asked, _secrets(resource), now, signature_v2=config.signature_v2)
    except S3Error as error:
        request_id = framing.new_request_id()
        headers, body = framing.told(error, head.path.decode("latin-1"), request_id)
        raw = framing.framed(error.status, headers, len(body), request_id)
        return Response(error.status, tuple(raw), body)
    return None


def _secrets(resource: Resource) -> SecretOf:
    """Return what finds the secret of any user that the resource may have."""
    owner = claim.access_key(resource.id)

    def secret_of(access_key: str) -> str:
        suffix = access_key.removeprefix(owner)
        if not access_key.startswith(owner) or not _SUFFIX.fullmatch(suffix):
            raise unknown_key(access_key)
        return claim.secret_key(resource.keys, suffix)

    return secret_of
