"""Writes circuits in the dialects of OpenQASM that vendors read."""

from __future__ import annotations

from functools import lru_cache

from . import conditions
from .ir import BLOCKS, TURN, Circuit, Op, UnsupportedError, flat, line_of_choice

_BRAKET = {
    "cx": "cnot",
    "sdg": "si",
    "tdg": "ti",
    "sx": "v",
    "sxdg": "vi",
    "p": "phaseshift",
    "cp": "cphaseshift",
    "id": "i",
    "ccx": "ccnot",
    "rxx": "xx",
    "ryy": "yy",
    "rzz": "zz",
    "zzphase": "zz",
    "phasedx": "prx",
    "r": "prx",
}
_STANDARD = frozenset(
    {"p", "x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "rx", "ry", "rz", "cx", "cy", "cz"}
    | {"cp", "crx", "cry", "crz", "ch", "swap", "ccx", "cswap", "cu", "id"}
)
_IN_TURNS = frozenset({"gpi", "gpi2", "zz", "ms"})

_DEFINITIONS = {
    "r": "gate r(t, p) q { rz(-p) q; rx(t) q; rz(p) q; }",
    "prx": "gate prx(t, p) q { rz(-p) q; rx(t) q; rz(p) q; }",
    "phasedx": "gate phasedx(t, p) q { rz(-p) q; rx(t) q; rz(p) q; }",
    "phased_xz": "gate phased_xz(x, z, a) q "
    "{ rz(-a * pi) q; rx(x * pi) q; rz(a * pi) q; rz(z * pi) q; }",
    "gpi": "gate gpi(p) q { rz(-p) q; x q; rz(p) q; }",
    "gpi2": "gate gpi2(p) q { rz(-p) q; rx(pi / 2) q; rz(p) q; }",
    "rxx": "gate rxx(t) a, b { h a; h b; cx a, b; rz(t) b; cx a, b; h a; h b; }",
    "ryy": "gate ryy(t) a, b "
    "{ rx(pi / 2) a; rx(pi / 2) b; cx a, b; rz(t) b; cx a, b; rx(-pi / 2) a; rx(-pi / 2) b; }",
    "rzz": "gate rzz(t) a, b { cx a, b; rz(t) b; cx a, b; }",
    "zz": "gate zz(t) a, b { cx a, b; rz(t) b; cx a, b; }",
    "zzphase": "gate zzphase(t) a, b { cx a, b; rz(t) b; cx a, b; }",
    "ecr": "gate ecr a, b { s a; sx b; cx a, b; x a; }",
    "iswap": "gate iswap a, b { s a; s b; h a; cx a, b; cx b, a; h b; }",
    "sxdg": "gate sxdg q { s q; h q; s q; }",
    "ccz": "gate ccz a, b, c { h c; ccx a, b, c; h c; }",
    "u": "gate u(t, p, l) q { U(t, p, l) q; }",
    "ms": "gate ms(a, b, t) q, r { rz(-a) q; rz(-b) r; h q; h r; cx q, r; rz(t) r; cx q, r; "
    "h q; h r; rz(a) q; rz(b) r; }",
}
"""What gates that `stdgates.inc` lacks mean, in its gates (up to a global phase)."""


def openqasm3(circuit: Circuit) -> str:
    """Return a circuit in OpenQASM 3 with `stdgates.inc`; physical qubits if it has labels."""
    names = {op[0] for op in flat(circuit["ops"])} - _STANDARD
    defined = [_DEFINITIONS[name] for name in sorted(names) if name in _DEFINITIONS]
    head = ["OPENQASM 3.0;", 'include "stdgates.inc";', *defined]
    if not _physical(circuit):
        for number, label in enumerate(circuit.get("labels") or ()):
            head.append(f"// q[{number}] is qubit {label} of the device")
        head.append(f"qubit[{circuit['qubits']}] q;")
    registers = [*circuit["registers"], *circuit.get("hidden", ())]
    head += [f"bit[{size}] {name};" for name, _, size in registers]
    return "\n".join([*head, *_body(circuit, circuit["ops"], {}, braket=False)]) + "\n"


def braket(circuit: Circuit, *, verbatim: bool = False) -> str:
    """Return a circuit in Amazon Braket's dialect."""
    _straight(circuit, "Braket's dialect")
    body = list(_body(circuit, circuit["ops"], _BRAKET, braket=True))
    gates = [line for line in body if " = measure " not in line]
    reads = [line for line in body if " = measure " in line]
    head = ["OPENQASM 3.0;"]
    if not _physical(circuit):
        head.append(f"qubit[{circuit['qubits']}] q;")
    head += [f"bit[{size}] {name};" for name, _, size in circuit["registers"]]
    if verbatim:
        gates = ["#pragma braket verbatim", "box {", *gates, "}"]
    return "\n".join([*head, *gates, *reads]) + "\n"


def openqasm2(circuit: Circuit) -> str:
    """Return a circuit in OpenQASM 2; raise UnsupportedError for gates that `qelib1.inc` lacks."""
    _straight(circuit, "OpenQASM 2 here")
    lines = ["OPENQASM 2.0;", 'include "qelib1.inc";', f"qreg q[{circuit['qubits']}];"]
    lines += [f"creg {name}[{size}];" for name, _, size in circuit["registers"]]
    for op in circuit["ops"]:
        name, qubits, params = op
        if name == "measure":
            lines.append(f"measure q[{qubits[0]}] -> {_bit(circuit, params[0])};")
        elif name == "delay":
            raise UnsupportedError("OpenQASM 2 has no delay.")
        else:
            known = _STANDARD | {"u", "rxx", "rzz", "sxdg", "barrier", "reset"}
            if name not in known:
                raise UnsupportedError(f"OpenQASM 2 has no gate {name}.")
            name = {"p": "u1", "cp": "cu1", "u": "u3"}.get(name, name)
            lines.append(f"{name}{_arguments(params)} {_operands(circuit, qubits)};")
    return "\n".join(lines) + "\n"


def _straight(circuit: Circuit, dialect: str) -> None:
    line = line_of_choice(circuit)
    if line is not None:
        raise UnsupportedError(f"{dialect} has nothing that measured bits decide.", line=line)


def _body(circuit: Circuit, ops: list[Op], names: dict[str, str], *, braket: bool) -> list[str]:
    lines: list[str] = []
    for op in ops:
        name, qubits, params = op
        if name in BLOCKS:
            asked = conditions.text(params[0], lambda bit: _bit(circuit, bit))
            then, otherwise = (_body(circuit, e, names, braket=braket) for e in params[1:3])
            lines += [f"{name} ({asked}) {{", *(f"  {each}" for each in then)]
            lines += ["} else {", *(f"  {each}" for each in otherwise)] if otherwise else []
            lines.append("}")
        elif name == "set":
            value = conditions.text(params[1], lambda bit: _bit(circuit, bit))
            lines.append(f"{_bit(circuit, params[0])} = {value};")
        elif name == "measure":
            where = _operands(circuit, qubits)
            lines.append(f"{_bit(circuit, params[0])} = measure {where};")
        elif name == "delay":
            if len(params) > 1:
                raise UnsupportedError("A delay is written once its length is known.")
            lines.append(f"delay[{params[0] * 1e9:.6g}ns] {_operands(circuit, qubits)};")
        else:
            lines.append(_line(circuit, op, names, braket=braket))
    return lines


def _line(circuit: Circuit, op: Op, names: dict[str, str], *, braket: bool) -> str:
    name, qubits, params = op
    values = [each * TURN for each in params] if name in _IN_TURNS else params
    where = _operands(circuit, qubits)
    if name == "u" and braket:
        theta, phi, lam = values
        return f"rz({lam!r}) {where}; ry({theta!r}) {where}; rz({phi!r}) {where};"
    return f"{names.get(name, name)}{_arguments(values)} {where};"


def _physical(circuit: Circuit) -> bool:
    """Tell whether the qubits can be written as physical ones, which have numbers."""
    return _are_numbers(tuple(circuit.get("labels") or ()))


@lru_cache(maxsize=64)
def _are_numbers(labels: tuple[str, ...]) -> bool:
    return bool(labels) and all(label.isdigit() for label in labels)


def _arguments(params: list[float]) -> str:
    return f"({', '.join(repr(float(each)) for each in params)})" if params else ""


def _operands(circuit: Circuit, qubits: list[int]) -> str:
    if _physical(circuit):
        return ", ".join(f"${circuit['labels'][each]}" for each in qubits)
    return ", ".join(f"q[{each}]" for each in qubits)


def _bit(circuit: Circuit, bit: int) -> str:
    for name, start, size in (*circuit["registers"], *circuit.get("hidden", ())):
        if start <= bit < start + size:
            return f"{name}[{bit - start}]"
    raise UnsupportedError(f"Bit {bit} is in no register.")
