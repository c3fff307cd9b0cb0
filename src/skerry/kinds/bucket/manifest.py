"""What the kind `bucket` declares about itself."""

from __future__ import annotations

from skerry.kernel.manifest import (
    YES,
    Client,
    EngineInfo,
    Manifest,
    Remote,
    Unit,
    Verb,
    Wire,
    Word,
    not_yet,
)
from skerry.kinds.bucket import messages
from skerry.kinds.bucket.config import BucketConfig

_BOTO3 = (
    'boto3.client("s3", endpoint_url="{url}", aws_access_key_id="{access_key}", '
    'aws_secret_access_key="{secret_key}", region_name="us-east-1")'
)
_BOTO3_BY_PATH = _BOTO3.replace("{url}", "{path_url}")
_CLI = (
    "AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret_key} AWS_REGION=us-east-1 "
    "aws --endpoint-url {url} s3 ls s3://{bucket}"
)
_JAVASCRIPT = (
    'new S3Client({{ endpoint: "{url}", region: "us-east-1", forcePathStyle: true, credentials: '
    '{{ accessKeyId: "{access_key}", secretAccessKey: "{secret_key}" }} }})'
)

MANIFEST = Manifest(
    name="bucket",
    summary="S3 object storage: buckets, versions, multipart uploads, policies, presigned URLs.",
    stands_in_for="Cloudflare R2, Supabase Storage, Amazon S3",
    engine_info=EngineInfo("SQLite and content-addressed files", "3", module="apsw"),
    engine="engine:BucketEngine",
    subject="subject:BucketSubject",
    replicates=YES,
    replica="replica:StateReplica",
    readable=True,
    can={
        Verb.BRANCH: YES,
        Verb.BRANCH_AT: not_yet("Old versions are kept per key only, not for the whole state."),
        Verb.SLEEP: YES,
        Verb.PLACE: YES,
        Verb.METER: YES,
        Verb.BACKUP: YES,
        Verb.BIND: YES,
        Verb.EXPORT: YES,
        Verb.IMPORT: YES,
    },
    wires=(
        Wire(
            name="s3",
            protocol="Amazon S3 REST API, Signature Version 4",
            summary="S3 by path, by virtual host, or found by the access key.",
            clients=(
                Client("boto3", "Python", _BOTO3),
                Client("boto3 (for forms and CORS)", "Python", _BOTO3_BY_PATH),
                Client("AWS CLI", "shell", _CLI),
                Client("@aws-sdk/client-s3", "JavaScript", _JAVASCRIPT),
            ),
            application="wire.application:make",
            claim="claim:claim",
            gate="gate:gate",
            connection="words:connection",
        ),
    ),
    binding="binding:bind",
    remote=Remote("remote:bind", wire="s3"),
    config=BucketConfig,
    units=(
        Unit("class_a", "Requests that write or list."),
        Unit("class_b", "Requests that read."),
        Unit("bytes_in", "Bytes of objects received."),
        Unit("bytes_out", "Bytes sent in answers."),
        Unit("stored_bytes", "Bytes newly kept; what is there already is not counted again."),
    ),
    words=(
        Word("buckets", "List the buckets.", messages.Nothing, list[str], "bucket:read"),
        Word("list", "List objects.", messages.ListParams, messages.Listing, "bucket:read"),
        Word("delete", "Delete an object.", messages.KeyParams, bool, "bucket:write", mutates=True),
        Word("presign", "Make a presigned URL.", messages.PresignParams, str, "bucket:presign"),
        Word("keys", "Show the credentials.", messages.Nothing, list[messages.Key], "bucket:keys"),
        Word(
            "grant", "Add a user.", messages.UserParams, messages.Key, "bucket:keys", mutates=True
        ),
        Word("revoke", "Remove a user.", messages.UserParams, None, "bucket:keys", mutates=True),
    ),
    actions=("bucket:read", "bucket:write", "bucket:presign", "bucket:keys"),
    immutable=("blobs",),
)
