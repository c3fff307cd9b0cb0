"""One family of errors: a stable code, what happened, why, and what to run next.

A `Problem` is the kind of failure, declared once; calling it makes the `SkerryError` of one case:

    raise NOT_FOUND("There is no branch pr-9 in newsroom.", hint="skerry branch list newsroom")

Wires map a `SkerryError` to their native shape (SQLSTATE, S3 XML, HTTP problem) and keep its code.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Any

PROBLEMS: dict[str, Problem] = {}
"""Every problem by its code; the error reference of the docs is generated from it."""


class SkerryError(Exception):
    """A failure that a person can act on."""

    def __init__(self, problem: Problem, what: str, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.problem = problem
        self.what = what
        self.why = why
        self.hint = hint

    @property
    def code(self) -> str:
        """The stable code, for programs."""
        return self.problem.code

    def as_dict(self) -> dict[str, Any]:
        """Return the shape in which the API and `--json` report it."""
        return {
            "code": self.code,
            "what": self.what,
            "why": self.why,
            "hint": self.hint,
            "docs": f"/docs/reference/errors#{self.code.lower()}",
            "temporary": self.problem.temporary,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return SkerryError, (self.problem, self.what, self.why, self.hint)


@dataclass(frozen=True, slots=True)
class Problem:
    """A kind of failure: its code, HTTP status, exit code, and whether trying again can help."""

    code: str
    http: int
    summary: str
    exit: int = 1
    temporary: bool = False

    def __post_init__(self) -> None:
        assert self.code not in PROBLEMS, f"{self.code} is declared twice"
        PROBLEMS[self.code] = self

    def __call__(self, what: str, *, why: str = "", hint: str = "") -> SkerryError:
        """Make the error of one case."""
        return SkerryError(self, what, why, hint)


def from_dict(shape: dict[str, Any]) -> SkerryError:
    """Rebuild the error that `as_dict` described, as a client of the API sees it."""
    problem = PROBLEMS.get(shape.get("code", ""), INTERNAL)
    return SkerryError(problem, shape.get("what", ""), shape.get("why", ""), shape.get("hint", ""))


INVALID = Problem("INVALID", 400, "The request or a value in it is not well-formed.", exit=2)
CONFIG_INVALID = Problem("CONFIG_INVALID", 400, "skerry.toml has an error.", exit=2)
DENIED = Problem("DENIED", 403, "Policy or a missing credential forbids it.", exit=4)
UNAUTHENTICATED = Problem("UNAUTHENTICATED", 401, "No valid credential was presented.", exit=4)
NOT_FOUND = Problem("NOT_FOUND", 404, "The named thing does not exist.")
ALREADY_EXISTS = Problem("ALREADY_EXISTS", 409, "Something of that name exists already.")
CONFLICT = Problem("CONFLICT", 409, "The state does not allow it now.")
FENCED = Problem("FENCED", 409, "Another node leads now; this one holds no lease any more.")
READ_ONLY = Problem("READ_ONLY", 403, "This copy is only read; another node writes.", exit=4)
UNSUPPORTED = Problem("UNSUPPORTED", 501, "The kind or this machine cannot do it.")
EXTRA_MISSING = Problem("EXTRA_MISSING", 501, "An optional dependency is not installed.")
TOO_LARGE = Problem("TOO_LARGE", 413, "A limit on size was exceeded.")
DISK_FULL = Problem("DISK_FULL", 507, "The disk has no room for it.")
BUSY = Problem("BUSY", 503, "A limit on load was reached; try again.", temporary=True)
TIMED_OUT = Problem("TIMED_OUT", 504, "It took longer than allowed.", temporary=True)
ENGINE_FAILED = Problem("ENGINE_FAILED", 502, "An engine or a function failed.")
NODE_UNREACHABLE = Problem("NODE_UNREACHABLE", 503, "No node answers.", temporary=True)
STORE_UNREACHABLE = Problem(
    "STORE_UNREACHABLE", 503, "A store of another machine does not answer.", temporary=True
)
KEY_DESTROYED = Problem("KEY_DESTROYED", 410, "The key that would open it was destroyed.")
ALREADY_RUNNING = Problem("ALREADY_RUNNING", 409, "A node runs on this home already.")
CORRUPT = Problem("CORRUPT", 500, "Stored data fails its checksum.")
INTERNAL = Problem("INTERNAL", 500, "A defect in Skerry.")

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_SQLITE_FULL = 13
_SQLSTATE_FULL = "53100"


def disk_full(error: BaseException) -> SkerryError | None:
    """Return DISK_FULL if an error says that a disk is full or a quota used up; else None.

    Systems say so by number, SQLite's libraries by its result code, and PostgreSQL by SQLSTATE.
    """
    codes = (getattr(error, "result", None), getattr(error, "sqlite_errorcode", None))
    is_full = (
        (isinstance(error, OSError) and error.errno in _FULL)
        or _SQLITE_FULL in codes
        or getattr(error, "sqlstate", None) == _SQLSTATE_FULL
    )
    if not is_full:
        return None
    said = next(iter(str(error).splitlines()), type(error).__name__)
    return DISK_FULL("The disk is full.", why=f"{said}.", hint="skerry doctor")
