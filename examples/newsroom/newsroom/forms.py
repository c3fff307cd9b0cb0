"""Forms as browsers send them, read with limits. Source: RFC 7578, RFC 2046 (5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

FIELDS_MAX = 100
DROPPED_FACTOR = 8


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a form."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Form:
    """The fields and files of a form; of several with one name the last one counts."""

    fields: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Upload] = field(default_factory=dict)

    def text(self, name: str, length: int = 200) -> str:
        """Return a line of text, '' without one. Raises HTTPException 400 if it is too long."""
        return " ".join(self.long_text(name, length).split())

    def long_text(self, name: str, length: int) -> str:
        """Return a text as it was written, with plain line ends."""
        value = self.fields.get(name, "").replace("\r\n", "\n").replace("\0", "")
        if len(value) > length:
            raise HTTPException(400, f"The field {name} has at most {length} characters.")
        return value.strip()

    def number(self, name: str) -> int:
        """Return a number. Raises HTTPException 400 if it is none."""
        value = self.text(name)
        if not (value.isascii() and value.isdigit() and len(value) < 16):
            raise HTTPException(400, f"The field {name} is not a number.")
        return int(value)


async def read_body(request: Request, bytes_max: int) -> bytes:
    """Return a body. Raises HTTPException 413 if it is too long.

    What is too long is read to its end and dropped, within reason: a browser shows an answer only
    once it has sent everything.
    """
    body = bytearray()
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total <= bytes_max:
            body += chunk
        elif total > bytes_max * DROPPED_FACTOR:
            break
    if total > bytes_max:
        raise HTTPException(413, f"At most {bytes_max / (1 << 20):.3g} MB can be sent.")
    return bytes(body)


async def read_form(request: Request, bytes_max: int) -> Form:
    """Return a form. Raises HTTPException 400, 413 or 415."""
    kind, options = _header(request.headers.get("content-type", ""))
    body = await read_body(request, bytes_max)
    try:
        if kind == "application/x-www-form-urlencoded":
            pairs = parse_qsl(
                body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict"
            )
            return Form(dict(pairs))
        if kind == "multipart/form-data" and options.get("boundary"):
            return _multipart(body, options["boundary"].encode("ascii"))
    except ValueError as error:
        raise HTTPException(400, "That form cannot be read.") from error
    raise HTTPException(415, "Forms are URL-encoded or multipart.")


def _multipart(body: bytes, boundary: bytes) -> Form:
    """Part a body at its boundaries, which stand at the beginnings of lines."""
    fields: dict[str, str] = {}
    files: dict[str, Upload] = {}
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary, FIELDS_MAX + 1)
    if len(parts) < 2 or not parts[-1].startswith(b"--"):
        raise ValueError("the form does not end, or has too many fields")
    for part in parts[1:-1]:
        head, gap, content = part.partition(b"\r\n\r\n")
        if not gap:
            raise ValueError("a part has no end of its head")
        options = _disposition(head)
        name = options.get("name", "")
        if "filename" in options:
            files[name] = Upload(options["filename"], content)
        else:
            fields[name] = content.decode()
    return Form(fields, files)


def _disposition(head: bytes) -> dict[str, str]:
    for line in head.decode().split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            return _header(value.strip())[1]
    return {}


def _header(value: str) -> tuple[str, dict[str, str]]:
    """Part a header into its value and its options."""
    message = Message()
    message["content-type"] = value or "text/plain"
    (kind, _), *options = message.get_params(failobj=[("", "")])
    return kind.lower(), {name.lower(): str(text) for name, text in options}
