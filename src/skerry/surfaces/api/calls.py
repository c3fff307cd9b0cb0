"""From the body of a request to a command's parameters, and from an error to its answer."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from starlette.responses import Response

from skerry.kernel.commands import Command, WordCall
from skerry.kernel.errors import INTERNAL, INVALID, SkerryError, disk_full
from skerry.kernel.mistakes import told
from skerry.kernel.names import did_you_mean

PROBLEM_TYPE = "application/problem+json"
_Wanted = TypeVar("_Wanted", bound=msgspec.Struct)


def read_params(command: Command, body: bytes) -> msgspec.Struct:
    """Return the parameters in a JSON body; an empty body is an empty object.

    Raises INVALID, which names the field that is wrong.
    """
    try:
        shape = msgspec.json.decode(body or b"{}")
    except msgspec.DecodeError as error:
        raise INVALID("The body is not JSON.", why=f"{error}.") from error
    return to_params(command, shape)


def to_params(command: Command, shape: Any) -> msgspec.Struct:
    """Return the parameters that plain values describe; raise INVALID."""
    if not command.kind:
        return _convert(command, shape, command.params)
    call = _convert(command, shape, WordCall)
    params = _convert(command, call.params, command.params)
    return msgspec.structs.replace(call, params=msgspec.to_builtins(params))


def _convert(command: Command, shape: Any, wanted: type[_Wanted]) -> _Wanted:
    try:
        return msgspec.convert(shape, wanted)
    except msgspec.ValidationError as error:
        place, expected, why = told(error)
        key = f" {'.'.join(place)}:" if place else ""
        raise INVALID(
            f"{command.name}:{key} expected {expected}.",
            why=why,
            hint=f"skerry describe {command.name}",
        ) from error


def unknown_command(name: str, known: list[str]) -> str:
    """Return why a command does not exist."""
    return did_you_mean(name, known) if len(name) <= 80 else "Its name is too long."


def as_skerry_error(error: BaseException) -> SkerryError:
    """Return the error itself, or a defect's error that says no more than its class."""
    if isinstance(error, SkerryError):
        return error
    return disk_full(error) or INTERNAL(
        f"A defect in Skerry: {type(error).__name__}.",
        why="The node's own log has the details.",
        hint="skerry doctor",
    )


def problem(error: SkerryError) -> Response:
    """Return the answer to a request that failed."""
    shape = {
        "type": error.as_dict()["docs"],
        "title": error.problem.summary,
        "status": error.problem.http,
        "detail": error.what,
        **error.as_dict(),
    }
    headers = {"WWW-Authenticate": "Bearer"} if error.problem.http == 401 else {}
    if error.problem.temporary:
        headers["Retry-After"] = "1"
    return Response(
        msgspec.json.encode(shape),
        status_code=error.problem.http,
        media_type=PROBLEM_TYPE,
        headers=headers,
    )
