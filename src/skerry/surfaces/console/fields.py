"""Forms from types: the fields that a word's parameters need, and the way back from a form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import inspect

from skerry.kernel.errors import INVALID


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of a form: `input` is text, number, checkbox, lines or json."""

    name: str
    input: str
    required: bool
    about: str
    default: str


def form_fields(struct: type[msgspec.Struct]) -> list[FormField]:
    """Return the fields of a form for a struct."""
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return [_field(each) for each in info.fields]


def _field(found: inspect.Field) -> FormField:
    about = ""
    if isinstance(found.type, inspect.Metadata):
        about = str((found.type.extra_json_schema or {}).get("description", ""))
    default = "" if found.default in (msgspec.NODEFAULT, None, ()) else str(found.default)
    return FormField(found.encode_name, _input(found.type), found.required, about, default)


def _input(found: inspect.Type) -> str:
    if isinstance(found, inspect.Metadata):
        return _input(found.type)
    if isinstance(found, inspect.UnionType):
        rest = [each for each in found.types if not isinstance(each, inspect.NoneType)]
        return _input(rest[0]) if len(rest) == 1 else "json"
    if isinstance(found, inspect.BoolType):
        return "checkbox"
    if isinstance(found, inspect.IntType | inspect.FloatType):
        return "number"
    if isinstance(found, inspect.StrType | inspect.LiteralType | inspect.EnumType):
        return "text"
    if isinstance(found, inspect.BytesType):
        return "text"
    if isinstance(found, inspect.ListType | inspect.VarTupleType | inspect.SetType):
        return "lines" if _input(found.item_type) == "text" else "json"
    return "json"


def from_form(struct: type[msgspec.Struct], form: Mapping[str, str]) -> dict[str, Any]:
    """Return the plain values that a form says; a field that is empty is left out."""
    found: dict[str, Any] = {}
    for each in form_fields(struct):
        text = form.get(each.name, "")
        if each.input == "checkbox":
            found[each.name] = text == "on"
        elif text or (each.required and each.input == "text"):
            found[each.name] = _value(each, text)
    return found


def _value(found: FormField, text: str) -> Any:
    if found.input == "number":
        try:
            number = float(text)
        except ValueError as error:
            raise INVALID(f"{found.name}: {text!r} is not a number.") from error
        if not math.isfinite(number):
            raise INVALID(f"{found.name}: {text!r} is not a number.")
        return int(number) if number == int(number) else number
    if found.input == "lines":
        return [line for line in text.splitlines() if line]
    if found.input == "json":
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
    return text
