"""Dynamical decoupling: pulses while qubits wait, put in by Qiskit's own passes.

The times are those that are published of the machine. A twin's errors of waiting have no memory, so
that pulses cannot undo them: on a twin they cost what their gates cost, and gain nothing.
"""

from __future__ import annotations

import math
from typing import Any

from .devices import device
from .ir import UnsupportedError
from .qpy import TICK_SECONDS

_VIRTUAL = ("rz", "p", "id", "barrier", "delay")


def decoupled(circuit: Any, params: dict[str, Any]) -> Any:
    """Return a circuit of Qiskit with pulses where qubits wait, if that is wanted."""
    wanted = (params.get("noise") or {}).get("decoupling")
    if not wanted:
        return circuit
    if circuit.has_control_flow_op():
        raise UnsupportedError("Dynamical decoupling is not for circuits that decide.")
    from qiskit.transpiler import PassManager, passes  # noqa: PLC0415

    durations = _durations(params["device"])
    gates, spacing = _sequence(wanted["sequence_type"])
    schedule = {"alap": passes.ALAPScheduleAnalysis, "asap": passes.ASAPScheduleAnalysis}
    done: Any = PassManager(
        [
            passes.TimeUnitConversion(durations),
            schedule[wanted["scheduling_method"]](durations),
            passes.PadDynamicalDecoupling(
                durations,
                dd_sequence=gates,
                spacing=spacing,
                skip_reset_qubits=wanted["skip_reset_qubits"],
                extra_slack_distribution=wanted["extra_slack_distribution"],
            ),
        ]
    ).run(circuit)
    return done


def _durations(found: dict[str, Any]) -> Any:
    """Return how long a device's operations take, in ticks."""
    from qiskit.transpiler import InstructionDurations  # noqa: PLC0415

    made = device(found)
    if not made.one_seconds or not made.two_seconds:
        raise UnsupportedError(
            f"Dynamical decoupling needs the times of gates, and none are published of {made.id}."
        )
    ticks = {
        1: round(made.one_seconds / TICK_SECONDS),
        2: round(made.two_seconds / TICK_SECONDS),
        0: round(made.read_seconds / TICK_SECONDS),
    }
    times: list[tuple[str, None, int]] = [(name, None, 0) for name in _VIRTUAL]
    times += [(name, None, ticks[1]) for name in ("x", "sx", "rx", "ry", "h", "sxdg", "reset")]
    times += [(name, None, ticks[2]) for name in ("cz", "cx", "ecr", "rzz")]
    times.append(("measure", None, ticks[0]))
    return InstructionDurations(times, dt=TICK_SECONDS)


def _sequence(kind: str) -> tuple[list[Any], list[float]]:
    """Return gates, and the share of the wait before each and after the last.

    A half turn about another axis than x is `rz x rz`; nothing waits inside of it.
    """
    from qiskit.circuit.library import RZGate, XGate  # noqa: PLC0415

    def about(angle: float) -> list[Any]:
        return [XGate()] if angle == 0 else [RZGate(angle), XGate(), RZGate(-angle)]

    angles = {
        "XX": (0.0, 0.0),
        "XpXm": (0.0, math.pi),
        "XY4": (0.0, math.pi / 2, math.pi, -math.pi / 2),
    }[kind]
    gates: list[Any] = []
    spacing: list[float] = []
    share = 1 / len(angles)
    for number, angle in enumerate(angles):
        pulse = about(angle)
        spacing += [share / 2 if number == 0 else share, *[0.0] * (len(pulse) - 1)]
        gates += pulse
    return gates, [*spacing, share / 2]
