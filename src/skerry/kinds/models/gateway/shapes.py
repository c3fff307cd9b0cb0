"""The shape that a request must have for anything here to look into it.

What is not named passes to the provider as it is, which knows best what it means.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from skerry.kinds.models.gateway.failure import FailureError, invalid

Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
Name = Annotated[str, msgspec.Meta(min_length=1)]
Items = Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)]


class _Call(msgspec.Struct):
    """A tool call in a message."""

    function: dict[str, Any] | None = None


class _Message(msgspec.Struct):
    """A message of a chat."""

    role: str | None = None
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[_Call] | None = None


class _Asked(msgspec.Struct):
    """What all requests to models share."""

    model: Name
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    n: Count | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None


class Chat(_Asked, kw_only=True):
    """A chat completion."""

    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    tools: list[dict[str, Any]] | None = None
    response_format: dict[str, Any] | None = None


class Completion(_Asked, kw_only=True):
    """A text completion; prompts may be texts or tokens."""

    prompt: Name | Annotated[list[Any], msgspec.Meta(min_length=1)]


class Embeddings(msgspec.Struct):
    """Embeddings of texts or tokens."""

    model: Name
    input: Name | Annotated[list[Any], msgspec.Meta(min_length=1)]
    dimensions: Count | None = None
    encoding_format: str | None = None


class _Text(msgspec.Struct):
    format: dict[str, Any] | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None


class Response(msgspec.Struct):
    """A response."""

    model: Name
    input: Name | Items
    instructions: str | None = None
    previous_response_id: str | None = None
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    max_output_tokens: Count | None = None
    tools: list[dict[str, Any]] | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    metadata: dict[str, Any] | None = None


SHAPES: dict[str, type[msgspec.Struct]] = {
    "chat": Chat,
    "completions": Completion,
    "embeddings": Embeddings,
    "responses": Response,
}


def check(operation: str, body: dict[str, Any]) -> None:
    """Raise FailureError 400 with the place of what is wrong, if anything is."""
    if body.get("model") in (None, ""):
        raise FailureError(400, "you must provide a model parameter", param="model")
    try:
        msgspec.convert(body, SHAPES[operation])
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        missing = reason.partition("missing required field `")[2].rstrip("`")
        param = place.strip("`.").partition(".")[0].partition("[")[0] or missing or None
        raise invalid(f"{param or 'The body'}: {reason}", param) from error
