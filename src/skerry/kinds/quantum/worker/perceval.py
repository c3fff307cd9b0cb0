"""Reads Quandela's programs as text (`perceval.serialization.serialize`) into `worker.photons`.

    :PCVL:Experiment:<base64>      :PCVL:ACircuit:<base64>      :PCVL:zip:<base64 of zlib>

or in a JSON string, or with what the client sends beside it:

    {"experiment": ":PCVL:…", "command": "sample_count", "max_samples": 1000,
     "iteration": {"input_state": ":PCVL:BasicState:|1,0>", "circuit_params": {"phi": 0.3}}}

Messages are Protocol Buffers, read by number. Parameters are numbers or names that are bound;
formulas are refused, because the client's own way to read them evaluates text.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

from .ir import UnsupportedError
from .protobuf import Message

TEXT_MAX = 16 << 20
DEPTH_MAX = 32
COMPONENTS_MAX = 20_000
COMMANDS = ("probs", "sample_count", "samples")
_PREFIX = ":PCVL:"
_UNSET = 0x0FFFFFFF
_BASIC_STATE = re.compile(r"\|(\d{1,2}(?:,\d{1,2})*)>")
_CONVENTIONS = ("bs", "bs_ry", "bs_h")
_OTHER = {
    16: "a wave plate", 17: "a half-wave plate", 18: "a quarter-wave plate",
    19: "a rotation of polarisation", 20: "a delay", 21: "a polarising beam splitter",
    23: "a loss channel", 24: "feed-forward", 25: "feed-forward", 26: "a compiled circuit",
}  # fmt: skip
_NOISE = ("brightness", "indistinguishability", "g2", "transmittance", "g2_distinguishable")
_PHASES = ("phase_imprecision", "phase_error")


def is_perceval(source: str) -> bool:
    """Tell whether a program is one of Quandela's."""
    return source.lstrip(' \t\r\n"').startswith(_PREFIX) or '"experiment"' in source[:1000]


def read(source: str, bindings: Mapping[str, float]) -> dict[str, Any]:
    """Return the photonic program that a text describes; raise UnsupportedError."""
    shape = _shape(source)
    command = shape.get("command", "sample_count")
    if command not in COMMANDS:
        raise UnsupportedError(
            f"The command {str(command)[:40]!r} is not known.", f"Known: {', '.join(COMMANDS)}."
        )
    iteration = shape.get("iteration") or {}
    values = {**bindings, **_numbers(iteration.get("circuit_params") or {})}
    kind, data = _unpacked(shape.get("experiment"))
    reader = _Reader(values)
    if kind == "ACircuit":
        program = reader.circuit(data)
    elif kind == "Experiment":
        program = reader.experiment(data)
    else:
        raise UnsupportedError(f"{kind[:40]!r} is no program.", "An Experiment or a Circuit is.")
    _change(program, shape)
    _change(program, iteration)
    program["command"] = command
    return program


def _shape(source: str) -> dict[str, Any]:
    text = source.strip()
    if text.startswith(_PREFIX):
        return {"experiment": text}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnsupportedError("The program is not one of Perceval's.", str(error)) from error
    if isinstance(found, str):
        return {"experiment": found}
    if not isinstance(found, dict) or not isinstance(found.get("iteration") or {}, dict):
        raise UnsupportedError("The program is not one of Perceval's.")
    return found


def _numbers(found: Any) -> dict[str, float]:
    try:
        return {str(name): float(value) for name, value in found.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise UnsupportedError("Parameters of a circuit are numbers.", str(error)) from error


def text_of(value: Any) -> tuple[str, str]:
    """Return the kind of a serialised object, and the text of it, unzipped within bounds."""
    if not isinstance(value, str) or not value.startswith(_PREFIX):
        raise UnsupportedError("The program is not one of Perceval's.", "It begins with :PCVL:.")
    kind, _, rest = value[len(_PREFIX) :].partition(":")
    if kind == "zip":
        opener = zlib.decompressobj()
        try:
            data = opener.decompress(_decoded(rest), TEXT_MAX)
            whole = data.decode()
        except (zlib.error, UnicodeDecodeError) as error:
            raise UnsupportedError("The program cannot be unzipped.", str(error)) from error
        if opener.unconsumed_tail or not opener.eof:
            raise UnsupportedError(f"The program has more than {TEXT_MAX >> 20} MiB, or is cut.")
        if not whole.startswith(_PREFIX) or whole.startswith(f"{_PREFIX}zip:"):
            raise UnsupportedError("What was zipped is not one of Perceval's programs.")
        return text_of(whole)
    return kind, rest


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnsupportedError("The program is not base64.", str(error)) from error


def _unpacked(value: Any) -> tuple[str, Message]:
    kind, text = text_of(value)
    return kind, Message(_decoded(text))


def state_of(value: Any) -> list[int]:
    """Return the photons of a state; raise UnsupportedError for superpositions and labels."""
    text = text_of(value)[1] if str(value).startswith(_PREFIX) else str(value)
    found = _BASIC_STATE.fullmatch(text.strip())
    if found is None:
        raise UnsupportedError(
            f"The input {text[:60]!r} is no numbers of photons.",
            "States with polarisation, labels or superpositions are not simulated.",
        )
    return [int(each) for each in found[1].split(",")]


def noise_of(value: Any) -> dict[str, Any]:
    """Return the figures of a NoiseModel."""
    try:
        found = json.loads(text_of(value)[1])
        figures = {str(name): float(each) for name, each in found.items()}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UnsupportedError("The noise is no NoiseModel.", str(error)) from error
    for name, each in figures.items():
        if name in _PHASES and each:
            raise UnsupportedError(f"The noise {name} is not simulated.")
        if name not in _NOISE + _PHASES:
            raise UnsupportedError(f"The noise {name[:40]} is not known.")
    return {name: each for name, each in figures.items() if name in _NOISE}


def _change(program: dict[str, Any], change: Mapping[str, Any]) -> None:
    """Set what is told beside an experiment."""
    parameters = change.get("parameters")
    told = {**parameters, **change} if isinstance(parameters, dict) else dict(change)
    if told.get("input_state") is not None:
        program["input"] = _with_heralds(state_of(told["input_state"]), program)
    if told.get("noise") is not None:
        program["noise"] = noise_of(told["noise"])
    if told.get("postselect") is not None:
        program["postselect"] = text_of(told["postselect"])[1]
    for ours, theirs in (
        ("photons_min", "min_detected_photons"),
        ("max_samples", "max_samples"),
        ("max_shots", "max_shots"),
    ):
        value = told.get(theirs)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise UnsupportedError(f"{theirs} is a whole number, not {str(value)[:40]!r}.")
        program[ours] = value


def _with_heralds(photons: list[int], program: dict[str, Any]) -> list[int]:
    """Return an input for all modes, where one leaves out those whose photons are heralds."""
    heralds = program["in_heralds"]
    if len(photons) != program["modes"] - len(heralds):
        return photons
    rest = iter(photons)
    return [heralds[mode] if mode in heralds else next(rest) for mode in range(program["modes"])]


class _Reader:
    def __init__(self, values: Mapping[str, float]) -> None:
        self._values = values
        self._components: list[Any] = []

    def circuit(self, data: Message) -> dict[str, Any]:
        modes = data.integer(2)
        for each in data.messages(4):
            self._component(each, 0, 0)
        return _program(modes, self._components)

    def experiment(self, data: Message) -> dict[str, Any]:
        program = _program(data.integer(8), self._components)
        for each in data.messages(9):
            self._component(each, 0, 0)
        program["in_heralds"] = _heralds(data.messages(5))
        program["heralds"] = {str(mode): n for mode, n in _heralds(data.messages(6)).items()}
        if data.has(1):
            program["input"] = state_of(data.text(1))
        if data.has(3):
            program["noise"] = noise_of(data.text(3))
        if data.has(4):
            program["postselect"] = text_of(data.text(4))[1]
        if data.integer(10) != _UNSET:
            program["photons_min"] = data.integer(10)
        program["detectors"] = {
            str(entry.integer(1)): _detector(entry.message(2)) for entry in data.messages(7)
        }
        return program

    def _component(self, data: Message, offset: int, depth: int) -> None:
        if depth > DEPTH_MAX or len(self._components) >= COMPONENTS_MAX:
            raise UnsupportedError(
                f"A circuit has at most {COMPONENTS_MAX} components, {DEPTH_MAX} deep."
            )
        start = offset + data.integer(1)
        which = data.which(range(10, 28))
        part = data.message(which) if which else data
        if which == 10:
            for each in part.messages(4):
                self._component(each, start, depth + 1)
        elif which == 11:
            self._components.append(["ps", [start], [self._value(part, 1)]])
            if self._value(part, 2):
                raise UnsupportedError("A phase shifter that errs is not simulated.")
        elif which == 12:
            name = _CONVENTIONS[part.integer(1)] if 0 <= part.integer(1) < 3 else ""
            angles = [self._value(part, number) for number in range(2, 7)]
            self._components.append([name, [start, start + 1], angles])
        elif which == 14:
            places = part.integers(1)
            self._components.append(["perm", list(range(start, start + len(places))), places])
        elif which == 15:
            self._unitary(part, start)
        elif which != 22:
            what = _OTHER.get(which, "a component that is not known")
            raise UnsupportedError(f"Component {len(self._components)} is {what}.")

    def _unitary(self, part: Message, start: int) -> None:
        matrix = part.message(1)
        rows, columns = matrix.integer(1), matrix.integer(2)
        cells = matrix.message(3).messages(1)
        if not rows or rows != columns or len(cells) != rows * columns or part.integer(3):
            raise UnsupportedError(
                f"Component {len(self._components)} is no square matrix of numbers."
            )
        values = [[each.double(1), each.double(2)] for each in cells]
        table = [values[row * columns : (row + 1) * columns] for row in range(rows)]
        self._components.append(["unitary", list(range(start, start + rows)), table])

    def _value(self, part: Message, number: int) -> float:
        """Return a parameter: its number, or what its name is bound to."""
        found = part.message(number)
        if found.has(3):
            raise UnsupportedError(
                f"The parameter {found.text(3)[:60]!r} is a formula.", "Formulas are not evaluated."
            )
        name = found.text(4) or found.text(2)
        if name in self._values:
            return float(self._values[name])
        if found.has(2):
            raise UnsupportedError(f"The parameter {name[:60]!r} has no value.")
        return found.double(1)


def _program(modes: int, components: list[Any]) -> dict[str, Any]:
    return {"modes": modes, "input": [], "components": components, "noise": {}, "in_heralds": {}}


def _heralds(entries: list[Message]) -> dict[int, int]:
    """Return the numbers of photons that are sent to, or must be found in, some modes."""
    return {
        entry.integer(1): entry.message(2).message(2).integer(3)
        for entry in entries
        if entry.message(2).has(2)
    }


def _detector(data: Message) -> list[int]:
    """Return the wires of a detector, and the most that it counts; 0 stands for no bound."""
    if not data.has(2):
        raise UnsupportedError("Detectors made of beam splitters are not simulated.")
    found = data.message(2)
    if found.double(4) not in (0.0, 1.0):
        raise UnsupportedError("Detectors that miss photons are not simulated.")
    return [found.integer(2), found.integer(3)]
