"""The OpenAPI description of a node's commands."""

from __future__ import annotations

from typing import Any

import msgspec

from skerry import __version__
from skerry.kernel.commands import Command
from skerry.kernel.errors import PROBLEMS
from skerry.surfaces.port import Node

_REF = "#/components/schemas/{name}"


def describe(node: Node) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the commands that a node carries out."""
    commands = sorted(node.commands.values(), key=lambda each: each.name)
    types = list(
        {each.params: None for each in commands} | {each.result: None for each in commands}
    )
    shapes, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema = dict(zip(types, shapes, strict=True))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Skerry",
            "version": __version__,
            "summary": "Every command of a node.",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(map(_tag, commands))],
        "paths": _fixed_paths() | {f"/v1/{each.name}": _path(each, schema) for each in commands},
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {**components, "Problem": _PROBLEM},
            "responses": {"Problem": _problem_response("It failed.")},
        },
    }


def _tag(command: Command) -> str:
    return command.kind or command.name.partition(".")[0]


def _path(command: Command, schema: dict[Any, Any]) -> dict[str, Any]:
    body = _word_body(schema[command.params]) if command.kind else schema[command.params]
    result = schema[command.result]
    lines = {"application/x-ndjson": {"schema": _line(command, result)}}
    whole = {} if command.streams else {"application/json": {"schema": result}}
    return {
        "post": {
            "operationId": command.name,
            "summary": command.summary,
            "tags": [_tag(command)],
            "x-action": command.action,
            "x-mutates": command.mutates,
            "requestBody": {"required": False, "content": {"application/json": {"schema": body}}},
            "responses": {
                "200": {"description": "It is done.", "content": {**whole, **lines}},
                "default": {"$ref": "#/components/responses/Problem"},
            },
        }
    }


def _word_body(params: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a `WordCall` whose inner parameters are those of the word."""
    return {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "the resource"},
            "app": {"type": "string"},
            "branch": {"type": "string", "default": "main"},
            "params": params,
        },
        "required": ["name", "app", "params"],
    }


def _line(command: Command, result: dict[str, Any]) -> dict[str, Any]:
    progress = {
        "type": "object",
        "properties": {
            "done": {"type": "integer"},
            "total": {"type": "integer"},
            "text": {"type": "string"},
        },
    }
    last = "item" if command.streams else "result"
    error = {"$ref": "#/components/schemas/Problem"}
    return {
        "type": "object",
        "description": "One of these a line.",
        "properties": {"progress": progress, last: result, "error": error},
    }


def _fixed_paths() -> dict[str, Any]:
    answer = {"default": {"$ref": "#/components/responses/Problem"}}
    octets: dict[str, Any] = {"content": {"application/octet-stream": {"schema": {}}}}
    one = {"type": "object", "properties": {"upload": {"type": "string"}}, "required": ["upload"]}
    return {
        "/v1/uploads": {
            "post": {
                "operationId": "uploads",
                "summary": "Send a tar archive for a command that is to follow",
                "requestBody": {"required": True, **octets},
                "responses": {
                    "201": {
                        "description": "It is kept.",
                        "content": {"application/json": {"schema": one}},
                    },
                    **answer,
                },
            }
        },
        "/v1/downloads/{id}": {
            "get": {
                "operationId": "downloads",
                "summary": "Fetch what a command has made ready",
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
                ],
                "responses": {"200": {"description": "A tar archive.", **octets}, **answer},
            }
        },
        "/healthz": {
            "get": {
                "operationId": "healthz",
                "summary": "Tell that the node answers",
                "security": [],
                "responses": {"200": {"description": "It does."}},
            }
        },
    }


def _problem_response(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    content = {"application/problem+json": {"schema": schema}}
    return {"description": description, "content": content}


_ABOUT = """Every command is `POST /v1/<command>` with JSON in and out. With `Accept:
application/x-ndjson` the answer comes line by line: progress while it lasts, then the result."""

_PROBLEM = {
    "title": "Problem",
    "type": "object",
    "properties": {
        "code": {"type": "string", "enum": sorted(PROBLEMS)},
        "what": {"type": "string"},
        "why": {"type": "string"},
        "hint": {"type": "string", "description": "a command to run"},
        "docs": {"type": "string"},
        "temporary": {"type": "boolean", "description": "trying again can help"},
    },
    "required": ["code", "what", "why", "hint", "docs", "temporary"],
}
