"""Bucket policies: parsing, and what they say about one request.

Source: AWS Identity and Access Management User Guide, "IAM JSON policy reference".
"""

from __future__ import annotations

import functools
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from skerry.kinds._shared.s3 import times
from skerry.kinds._shared.s3.errors import S3Error

POLICY_BYTES_MAX = 20 * 1024
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request wants: action (`s3:GetObject`), resource ARN, who, and its condition keys.

    `user` is '' for anonymous; `arns` are the names by which a principal may be meant.
    """

    action: str
    resource: str
    user: str
    arns: tuple[str, ...]
    keys: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a policy; lists may be empty where its opposite is given."""

    allow: bool
    actions: tuple[str, ...]
    not_actions: tuple[str, ...]
    resources: tuple[str, ...]
    not_resources: tuple[str, ...]
    principals: tuple[str, ...]
    not_principals: tuple[str, ...]
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...]

    def applies(self, asked: Asked) -> bool:
        """Tell whether the statement is about this request."""
        return (
            self._names(asked)
            and self._acts(asked)
            and self._covers(asked)
            and all(_holds(*condition, asked.keys) for condition in self.conditions)
        )

    def _names(self, asked: Asked) -> bool:
        if self.not_principals:
            return not _among(asked, self.not_principals)
        return _among(asked, self.principals)

    def _acts(self, asked: Asked) -> bool:
        action = asked.action.lower()
        if self.not_actions:
            return not any(like(each.lower(), action) for each in self.not_actions)
        return any(like(each.lower(), action) for each in self.actions)

    def _covers(self, asked: Asked) -> bool:
        if self.not_resources:
            return not any(like(each, asked.resource) for each in self.not_resources)
        return any(like(each, asked.resource) for each in self.resources)

    @property
    def public(self) -> bool:
        """Whether it allows something to everybody without a condition that narrows it."""
        everybody = "*" in self.principals or bool(self.not_principals)
        return self.allow and everybody and not any(map(_narrows, self.conditions))


def _among(asked: Asked, principals: Iterable[str]) -> bool:
    return any(each == "*" or each in asked.arns for each in principals)


def _narrows(condition: tuple[str, str, tuple[str, ...]]) -> bool:
    _, key, values = condition
    fixed = {"aws:sourceip", "aws:sourcearn", "aws:sourcevpc", "aws:userid", "aws:principalarn"}
    return key.lower() in fixed and not any(value in ("*", "0.0.0.0/0") for value in values)


class Decision:
    """The outcome of a policy."""

    ALLOW = "allow"
    DENY = "deny"
    NOTHING = "nothing"


def decide(statements: Iterable[Statement], asked: Asked) -> str:
    """Return a `Decision`: a denial wins over any permission."""
    found = Decision.NOTHING
    for statement in statements:
        if statement.applies(asked):
            if not statement.allow:
                return Decision.DENY
            found = Decision.ALLOW
    return found


@functools.lru_cache(maxsize=64)
def parse(data: bytes, bucket: str) -> tuple[Statement, ...]:
    """Read a bucket's policy; raise MalformedPolicy."""
    try:
        document = json.loads(data)
        listed = document["Statement"]
        if document.get("Version", "2012-10-17") not in ("2012-10-17", "2008-10-17"):
            raise ValueError("The policy has an unknown Version.")
        listed = listed if isinstance(listed, list) else [listed]
        if not listed:
            raise ValueError("The policy has no statement.")
        return tuple(_statement(each, bucket) for each in listed)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise S3Error("MalformedPolicy", f"The policy is not valid: {error}") from error


def _statement(raw: dict[str, Any], bucket: str) -> Statement:
    known = "Sid Effect Action NotAction Resource NotResource Principal NotPrincipal Condition"
    unknown = set(raw) - set(known.split())
    if unknown:
        raise ValueError(f"Unknown element {min(unknown)}.")
    if raw.get("Effect") not in ("Allow", "Deny"):
        raise ValueError("Effect must be Allow or Deny.")
    for one, other in (("Action", "NotAction"), ("Resource", "NotResource")):
        if (one in raw) == (other in raw):
            raise ValueError(f"Give either {one} or {other}.")
    if ("Principal" in raw) == ("NotPrincipal" in raw):
        raise ValueError("Give either Principal or NotPrincipal.")
    if raw["Effect"] == "Allow" and "NotPrincipal" in raw:
        raise ValueError("Allow with NotPrincipal is not allowed.")
    statement = Statement(
        raw["Effect"] == "Allow",
        _texts(raw.get("Action")),
        _texts(raw.get("NotAction")),
        _texts(raw.get("Resource")),
        _texts(raw.get("NotResource")),
        _principals(raw.get("Principal")),
        _principals(raw.get("NotPrincipal")),
        tuple(_conditions(raw.get("Condition", {}))),
    )
    for resource in statement.resources + statement.not_resources:
        named = resource.removeprefix("arn:aws:s3:::").partition("/")[0]
        if resource != "*" and not like(named, bucket):
            raise ValueError("Policy has invalid resource.")
    return statement


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str) for each in values):
        raise ValueError("A list of strings was expected.")
    return tuple(values)


def _principals(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, dict):
        return tuple(each for name in value for each in _texts(value[name]))
    return _texts(value)


def _conditions(raw: dict[str, Any]) -> Iterable[tuple[str, str, tuple[str, ...]]]:
    for operator, tests in raw.items():
        base = operator.removeprefix("ForAnyValue:").removeprefix("ForAllValues:")
        if base.removesuffix("IfExists") not in _OPERATORS and base != "Null":
            raise ValueError(f"Unknown condition operator {operator}.")
        for key, values in tests.items():
            listed = values if isinstance(values, list) else [values]
            yield base, key, tuple(_text(each) for each in listed)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def like(pattern: str, text: str) -> bool:
    """Match with `*` and `?`, in time that is bounded by the product of both lengths."""
    first, *rest = pattern.split("*")
    if not rest:
        return len(first) == len(text) and _at(first, text, 0)
    *middle, last = rest
    if len(text) < len(first) + len(last) or not _at(first, text, 0):
        return False
    end = len(text) - len(last)
    if not _at(last, text, end):
        return False
    position = len(first)
    for part in middle:
        position = _find(part, text, position, end)
        if position < 0:
            return False
        position += len(part)
    return True


def _at(part: str, text: str, start: int) -> bool:
    """Tell whether a pattern without `*` matches at a place of a text that is long enough."""
    if "?" not in part:
        return text.startswith(part, start)
    return all(have in ("?", text[start + offset]) for offset, have in enumerate(part))


def _find(part: str, text: str, start: int, end: int) -> int:
    """Return the first place between start and end where a pattern without `*` matches, or -1."""
    if "?" not in part:
        return text.find(part, start, end)
    places = range(start, end - len(part) + 1)
    return next((place for place in places if _at(part, text, place)), -1)


def _holds(operator: str, key: str, values: tuple[str, ...], keys: Mapping[str, str]) -> bool:
    have = keys.get(key.lower() if not _cased(key) else key)
    if operator == "Null":
        return (have is None) == (values[:1] == ("true",))
    base = operator.removesuffix("IfExists")
    negative = base in _NEGATIVE
    if have is None:
        return negative or base != operator
    test = _OPERATORS[base]
    found = any(test(_fill(value, keys), have) for value in values)
    return not found if negative else found


def _cased(key: str) -> bool:
    """Tell whether a condition key ends in a tag's name, which is told apart by case."""
    return "tag/" in key.lower()


def _fill(value: str, keys: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: keys.get(match[1].lower(), match[0]), value)


def _number(compare: Callable[[float, float], bool]) -> Callable[[str, str], bool]:
    def test(value: str, have: str) -> bool:
        try:
            return compare(float(have), float(value))
        except ValueError:
            return False

    return test


def _date(compare: Callable[[int, int], bool]) -> Callable[[str, str], bool]:
    def test(value: str, have: str) -> bool:
        try:
            return compare(times.parse_iso(have), times.parse_iso(value))
        except ValueError:
            return False

    return test


def _in_network(value: str, have: str) -> bool:
    try:
        return ipaddress.ip_address(have) in ipaddress.ip_network(value, strict=False)
    except ValueError:
        return False


_NEGATIVE = frozenset(
    [
        "StringNotEquals",
        "StringNotLike",
        "StringNotEqualsIgnoreCase",
        "NumericNotEquals",
        "DateNotEquals",
        "NotIpAddress",
        "ArnNotEquals",
        "ArnNotLike",
    ]
)
_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda value, have: value == have,
    "StringNotEquals": lambda value, have: value == have,
    "StringEqualsIgnoreCase": lambda value, have: value.lower() == have.lower(),
    "StringNotEqualsIgnoreCase": lambda value, have: value.lower() == have.lower(),
    "StringLike": like,
    "StringNotLike": like,
    "ArnEquals": like,
    "ArnLike": like,
    "ArnNotEquals": like,
    "ArnNotLike": like,
    "Bool": lambda value, have: value.lower() == have.lower(),
    "NumericEquals": _number(lambda have, value: have == value),
    "NumericNotEquals": _number(lambda have, value: have == value),
    "NumericLessThan": _number(lambda have, value: have < value),
    "NumericLessThanEquals": _number(lambda have, value: have <= value),
    "NumericGreaterThan": _number(lambda have, value: have > value),
    "NumericGreaterThanEquals": _number(lambda have, value: have >= value),
    "DateEquals": _date(lambda have, value: have == value),
    "DateNotEquals": _date(lambda have, value: have == value),
    "DateLessThan": _date(lambda have, value: have < value),
    "DateLessThanEquals": _date(lambda have, value: have <= value),
    "DateGreaterThan": _date(lambda have, value: have > value),
    "DateGreaterThanEquals": _date(lambda have, value: have >= value),
    "IpAddress": _in_network,
    "NotIpAddress": _in_network,
}
