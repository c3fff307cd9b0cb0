"""Failures as Braket tells them: a type in a header, a message in JSON."""

from __future__ import annotations

from typing import Any

from skerry.kernel.errors import SkerryError
from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds._shared.s3.xml import Element, document
from skerry.kinds.quantum.wires.frame import Call, Reply

_TYPES = {
    "DENIED": ("AccessDeniedException", 403),
    "UNAUTHENTICATED": ("UnrecognizedClientException", 403),
    "NOT_FOUND": ("ResourceNotFoundException", 404),
    "CONFLICT": ("ConflictException", 409),
    "BUSY": ("ThrottlingException", 429),
    "EXTRA_MISSING": ("DeviceOfflineException", 424),
    "INVALID": ("ValidationException", 400),
    "UNSUPPORTED": ("ValidationException", 400),
    "TOO_LARGE": ("ValidationException", 400),
}
_DEFECT = ("InternalServiceException", 500)


class ProgramSetError(Exception):
    """Which programs of a set were refused, and the failure of the first."""

    def __init__(self, failures: list[dict[str, Any]], first: SkerryError) -> None:
        super().__init__(first.what)
        self.failures = failures
        self.first = first


def message(error: SkerryError) -> str:
    """Return all that a failure says, in one line."""
    return " ".join(part for part in (error.what, error.why, error.hint) if part)


def refuse(call: Call, error: SkerryError) -> Reply:
    """Return a failure as a reply."""
    kind, status = _TYPES.get(error.code, _DEFECT)
    making = call.method == "POST" and call.path in ("/quantum-task", "/job")
    if kind == "ResourceNotFoundException" and making:
        kind, status = "ValidationException", 400
    elif kind == "ThrottlingException" and call.path == "/job":
        kind, status = "ServiceQuotaExceededException", 402
    if call.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return _refuse_query(kind, status, message(error))
    # Services of AWS's older JSON protocol look for the type in the body.
    return _reply(kind, status, {"__type": kind, "message": message(error)})


def _refuse_query(kind: str, status: int, text: str) -> Reply:
    """Return a failure in the words of STS and IAM."""
    root = Element("ErrorResponse")
    found = root.add("Error")
    found.add("Type", "Sender")
    found.add("Code", kind)
    found.add("Message", text)
    root.add("RequestId", "0")
    return Reply(document(root, ""), status, kind="text/xml")


def refuse_set(error: ProgramSetError) -> Reply:
    """Return the failures of a program set as a reply."""
    body = {
        "message": message(error.first),
        "reason": "ProgramSetValidationFailed",
        "programSetValidationFailures": error.failures,
    }
    return _reply("ValidationException", 400, body)


def refuse_storage(call: Call, error: S3Error) -> Reply:
    """Return a failure in the words of S3."""
    return Reply(error.body(call.path, "0"), error.status, dict(error.headers), "application/xml")


def _reply(kind: str, status: int, body: dict[str, Any]) -> Reply:
    return Reply(body, status, {"x-amzn-errortype": kind})
