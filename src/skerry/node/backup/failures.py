"""What the engine's last words mean, as errors that a person can act on."""

from __future__ import annotations

import re

from skerry.kernel.errors import (
    BUSY,
    CORRUPT,
    DISK_FULL,
    ENGINE_FAILED,
    NOT_FOUND,
    STORE_UNREACHABLE,
    UNAUTHENTICATED,
    Problem,
    SkerryError,
)

_MEANINGS: tuple[tuple[str, Problem, str, str], ...] = (
    (
        r"wrong password or no key found",
        UNAUTHENTICATED,
        "The recovery key does not open the backups at {place}.",
        "skerry backup key",
    ),
    (
        r"no space left on device|quota exceeded|StorageFull|QuotaExceeded|InsufficientStorage"
        r"|unexpected HTTP response \(507\)",
        DISK_FULL,
        "The store {place}, or this machine's disk, is full.",
        "skerry backup status",
    ),
    (
        r"ciphertext verification failed|does not match id|pack ID does not match"
        r"|invalid data returned|hash mismatch|checksum mismatch|unexpected EOF.*pack"
        r"|Pack size does not match|Pack ID does not match|contains \d+ errors"
        r"|repository contains errors|wrong data returned|not found in index"
        r"|decrypting|loadTree|no such blob|message authentication",
        CORRUPT,
        "Backups at {place} are damaged.",
        "skerry backup check --repair",
    ),
    (
        r"Is there a repository at the following location|unable to open config file"
        r"|specified bucket does not exist|NoSuchBucket",
        NOT_FOUND,
        "There are no backups at {place}.",
        "skerry backup to",
    ),
    (
        r"repository is already locked|unable to create lock",
        BUSY,
        "Another machine works on the backups at {place}.",
        "skerry backup status",
    ),
    (
        r"Access ?Denied|403 Forbidden|InvalidAccessKeyId|SignatureDoesNotMatch"
        r"|Access Key Id|Permission denied \(publickey",
        UNAUTHENTICATED,
        "The store {place} refuses the credentials.",
        "skerry backup to",
    ),
    (
        r"connection refused|no such host|i/o timeout|connection reset|broken pipe|EOF"
        r"|TLS handshake|deadline exceeded|network is unreachable|Connection closed"
        r"|server misbehaving|unexpected HTTP response|50[0-9] |ssh command exited",
        STORE_UNREACHABLE,
        "The store {place} does not answer.",
        "skerry backup status",
    ),
)

_WORDS_MAX = 600


def explain(words: str, place: str, doing: str) -> SkerryError:
    """Return the error that the engine's last words mean."""
    why = _last(words)
    for pattern, problem, what, hint in _MEANINGS:
        if re.search(pattern, words, re.IGNORECASE):
            return problem(what.format(place=place), why=why, hint=hint)
    return ENGINE_FAILED(f"restic failed {doing} at {place}.", why=why)


def _last(words: str) -> str:
    """Return the lines that say most: the fatal one if there is one, else the last ones."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    fatal = [line for line in lines if line.lower().startswith("fatal")]
    return " ".join(fatal[-1:] or lines[-3:])[-_WORDS_MAX:]
