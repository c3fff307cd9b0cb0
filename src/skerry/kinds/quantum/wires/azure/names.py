"""How Azure's clients name things, and how a moment is written for them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from skerry.kernel.errors import INVALID
from skerry.kinds.quantum.checks import TEXT_MAX

WIRE = "azure"
"""What this wire's jobs, sessions and papers are marked with."""

OUTPUT = "rawOutputData"
"""The blob of a job's results."""

_IDENTITY = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CONTAINER = re.compile(r"(?=.{3,63}$)[a-z0-9](?:-?[a-z0-9])*")
_ACCOUNT = re.compile("^azure-[0-9a-f]{16}-")
_BLOB_MAX = 200


def identity(text: str) -> str:
    """Return the id of a job or session, which clients choose; raise INVALID unless a UUID."""
    found = text.lower()
    if not _IDENTITY.fullmatch(found):
        raise INVALID(f"An id is a UUID, not {text[:60]!r}.")
    return found


def container_of(job_id: str) -> str:
    """Return the container of a job's blobs."""
    return f"job-{job_id}"


def job_of(container: str) -> str:
    """Return the id of the job whose container it is, or nothing."""
    found = container.removeprefix("job-")
    return found if found != container and _IDENTITY.fullmatch(found) else ""


def account(resource: str, container: str) -> str:
    """Return the first segment of a container's address.

    Azure's client takes it for the container where it is asked for a job's attachments, so that it
    names the container, too.
    """
    return f"azure-{resource}-{container}"


def container(text: str) -> str:
    """Return the name of a container; raise INVALID for what is none."""
    text = _ACCOUNT.sub("", text)
    if not _CONTAINER.fullmatch(text):
        raise INVALID(
            f"{text[:80]!r} is no name of a container.",
            why="It has 3 to 63 of a-z, 0-9 and single hyphens.",
        )
    return text


def blob(text: str) -> str:
    """Return the name of a blob; raise INVALID for what is none."""
    if not 0 < len(text) <= _BLOB_MAX or not text.isprintable():
        raise INVALID(f"The name of a blob has 1 to {_BLOB_MAX} printable characters.")
    return text


def shown(text: str) -> str:
    """Return what a job or session is called; raise INVALID if it is too long."""
    if len(text) > TEXT_MAX:
        raise INVALID(f"A name has at most {TEXT_MAX} characters.")
    return text


def moment(nanoseconds: int) -> str | None:
    """Return a moment as ISO 8601, or None for none."""
    if not nanoseconds:
        return None
    found = datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    return found.isoformat(timespec="microseconds").replace("+00:00", "Z")
