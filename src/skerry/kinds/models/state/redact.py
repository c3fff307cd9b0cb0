"""What must not lie in a log in the clear: addresses, numbers of cards and accounts, keys.

Patterns find what has a fixed shape; names and free descriptions of people they do not find.
"""

from __future__ import annotations

import re

_CARD = re.compile(r"\b(?:\d[ -]?){12,18}\d\b")
_PATTERNS = (
    (re.compile(r"\bsk[a-z]?[-_][A-Za-z0-9_-]{16,}"), "[key]"),
    (re.compile(r"\b(?:gh[opsu]_|xox[abp]-|AKIA|eyJ)[A-Za-z0-9._-]{12,}"), "[key]"),
    (re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"), "[iban]"),
    (re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+\b"), "[e-mail]"),
    (re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b"), "[address]"),
    (
        re.compile(r"(?<![\w.])\+?\d{1,3}[ -]?(?:\(\d{1,4}\)[ -]?)?\d{2,4}(?:[ -]?\d{2,4}){2,4}\b"),
        "[phone]",
    ),
)


def redact(text: str) -> str:
    """Return a text with what has such a shape replaced by what it was."""
    text = _CARD.sub(lambda found: "[card]" if _luhn(found[0]) else found[0], text)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def _luhn(text: str) -> bool:
    """Tell whether digits end in the right check digit (ISO/IEC 7812-1)."""
    digits = [int(each) for each in text if each.isdigit()]
    doubled = [sum(divmod(2 * each, 10)) for each in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
