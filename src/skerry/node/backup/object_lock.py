"""Object lock: the store itself keeps what was written for some days, whoever asks to delete it.

A default retention is set on the bucket, so every object of a backup gets it as it is written. The
engine's own lock files become old versions, which the store's life-cycle rules may remove later.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from skerry.kernel.errors import UNSUPPORTED
from skerry.node.backup.destination import Destination
from skerry.node.backup.s3 import ask

_ENABLED = ("x-amz-bucket-object-lock-enabled", "true")
_RULE = (
    '<ObjectLockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>"
    "<Mode>COMPLIANCE</Mode><Days>{days}</Days></DefaultRetention></Rule>"
    "</ObjectLockConfiguration>"
)


def lock(destination: Destination, now_ns: int) -> None:
    """Make the bucket if it is not there, and let it lock each object for `lock_days`. Blocks.

    Raises UNSUPPORTED if the store or the bucket cannot lock, STORE_UNREACHABLE.
    """
    bucket = f"/{urlsplit(destination.url).netloc}"
    status, answer = ask(destination, "PUT", bucket, "", b"", now_ns, _ENABLED)
    if status not in (200, 409):
        raise _refused(destination, status, answer)
    rule = _RULE.format(days=destination.lock_days).encode()
    status, answer = ask(destination, "PUT", bucket, "object-lock=", rule, now_ns)
    if status != 200:
        raise _refused(destination, status, answer)


def _refused(destination: Destination, status: int, answer: str) -> Exception:
    return UNSUPPORTED(
        f"{destination.url} does not lock objects.",
        why=f"It answers {status}: {answer[:200]}",
        hint="Name a new bucket, or leave --object-lock-days out.",
    )
