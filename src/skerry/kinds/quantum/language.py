"""Tells what a program is written in from its own text, where nobody says it."""

from __future__ import annotations

import re

from skerry.kinds.quantum.contract import Format

_HEAD = 4096
_QASM2 = re.compile(r"^\s*OPENQASM\s+2(?:\.\d+)?\s*;", re.MULTILINE)
_QSHARP = re.compile(
    r"^\s*(?:@EntryPoint\s*\(|(?:(?:internal|export)\s+)?(?:operation|namespace)\s+[\w.]+\s*[({])",
    re.MULTILINE,
)
_QIR = re.compile(
    r"^\s*(?:; ModuleID|source_filename|%\w+ = type|define )|@__quantum__", re.MULTILINE
)
_JSON: tuple[tuple[str, Format], ...] = (
    ('"drivingFields"', "ahs"),
    ('"ahs_register"', "ahs"),
    ('"experiment"', "perceval"),
    ('"operations"', "pulser"),
    ('"components"', "photonic"),
    ('"ops"', "circuit"),
)
"""Members that a program in JSON has, and what it then is; the first that is found counts."""

SIMULATORS: dict[str, str] = {"photonic": "sim-photonic", "perceval": "sim-photonic"}
"""Which simulator runs programs in a language where it is not that of circuits."""


def of(source: str) -> Format:
    """Return the language of a program; OpenQASM 3 is what nothing tells apart."""
    text = source.lstrip()
    if text.startswith((":PCVL:", '":PCVL:')):
        return "perceval"
    if text.startswith("{"):
        return next((kind for member, kind in _JSON if member in text), "circuit")
    head = text[:_HEAD]
    if _QASM2.search(head):
        return "openqasm2"
    if _QSHARP.search(head):
        return "qsharp"
    return "qir" if _QIR.search(head) else "openqasm3"


def simulator(language: Format) -> str:
    """Return the device that runs a program where none is named."""
    return SIMULATORS.get(language, "sim-ideal")
