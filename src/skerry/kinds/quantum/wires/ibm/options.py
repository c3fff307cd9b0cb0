"""What IBM's options of a sampler or an estimator ask for besides running: twirling, mitigation.

The words and defaults are those of `SamplerOptions` and `EstimatorOptions` of qiskit-ibm-runtime.
What is not done here is refused by its name; a resilience level that is not given is 0.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from skerry.kernel.errors import UNSUPPORTED

Auto = int | Literal["auto"]
_REQUIRED = {"linear": 2, "exponential": 2, "double_exponential": 4, "fallback": 1}
_REQUIRED |= {f"polynomial_degree_{degree}": degree + 1 for degree in range(1, 8)}
FACTORS_MAX = 20


class Twirling(msgspec.Struct, frozen=True):
    """Random Paulis around gates and readings."""

    enable_gates: bool | None = None
    enable_measure: bool | None = None
    num_randomizations: Auto = "auto"
    shots_per_randomization: Auto = "auto"
    strategy: Literal["active", "active-accum", "active-circuit", "all"] = "active-accum"
    group: Literal["pauli"] = "pauli"


class Learning(msgspec.Struct, frozen=True):
    """How readings are calibrated."""

    num_randomizations: Auto = 32
    shots_per_randomization: Auto = "auto"


class Zne(msgspec.Struct, frozen=True):
    """Extrapolation to no noise."""

    amplifier: str = "gate_folding"
    noise_factors: list[float] | Literal["auto"] = "auto"
    extrapolator: str | tuple[str, ...] = ("exponential", "linear")
    extrapolated_noise_factors: list[float] | Literal["auto"] = "auto"


class Resilience(msgspec.Struct, frozen=True):
    """What is mitigated; what is not given follows from the level."""

    measure_mitigation: bool | None = None
    measure_noise_learning: Learning = Learning()
    zne_mitigation: bool | None = None
    zne: Zne = Zne()
    pec_mitigation: bool | None = None
    layer_noise_model: Any = None


class Decoupling(msgspec.Struct, frozen=True):
    """Pulses while qubits wait."""

    enable: bool = False
    sequence_type: Literal["XX", "XpXm", "XY4"] = "XX"
    extra_slack_distribution: Literal["middle", "edges"] = "middle"
    scheduling_method: Literal["alap", "asap"] = "alap"
    skip_reset_qubits: bool = False


class Execution(msgspec.Struct, frozen=True):
    """How shots begin, and what is read."""

    init_qubits: bool = True
    meas_type: str | None = None


class Simulator(msgspec.Struct, frozen=True):
    """What IBM's local mode is told of its simulator."""

    seed_simulator: int | None = None
    noise_model: Any = None
    coupling_map: Any = None
    basis_gates: Any = None


class Options(msgspec.Struct, frozen=True):
    """The options that change an outcome."""

    simulator: Simulator = Simulator()

    twirling: Twirling = Twirling()
    resilience: Resilience = Resilience()
    dynamical_decoupling: Decoupling = Decoupling()
    execution: Execution = Execution()


def noise(params: dict[str, Any], program: str) -> dict[str, Any]:
    """Return what a worker is to do against noise; raise UNSUPPORTED for what it cannot.

    Level 1 mitigates readings, which twirls them; level 2 twirls gates too, and extrapolates.
    """
    options = msgspec.convert(params.get("options") or {}, Options)
    _refuse_execution(options.execution)
    for name in ("noise_model", "coupling_map", "basis_gates"):
        if getattr(options.simulator, name) is not None:
            raise UNSUPPORTED(
                f"simulator.{name} is not taken: a twin has its own.", why="Choose another backend."
            )
    level = params.get("resilience_level") or 0
    if level not in (0, 1, 2):
        raise UNSUPPORTED(f"There is no resilience level {level!s:.20}.", why="0, 1 and 2 are.")
    twirling, resilience = options.twirling, options.resilience
    _refuse(resilience, program)
    readout = _given(resilience.measure_mitigation, level >= 1)
    zne = _given(resilience.zne_mitigation, level >= 2)
    gates = _given(twirling.enable_gates, level >= 2)
    measure = readout or _given(twirling.enable_measure, level >= 1)
    for count in (twirling.num_randomizations, twirling.shots_per_randomization):
        _positive(count)
    learning = resilience.measure_noise_learning
    for count in (learning.num_randomizations, learning.shots_per_randomization):
        _positive(count)
    decoupling = options.dynamical_decoupling
    return {
        "gates": gates,
        "measure": measure,
        "strategy": twirling.strategy,
        "num_randomizations": twirling.num_randomizations,
        "shots_per_randomization": twirling.shots_per_randomization,
        "readout": readout,
        "learning": msgspec.to_builtins(learning),
        "zne": _zne(resilience.zne) if zne else None,
        "randomised": gates or measure or zne,
        "decoupling": msgspec.to_builtins(decoupling) if decoupling.enable else None,
        "seed": options.simulator.seed_simulator,
    }


def _given(value: bool | None, otherwise: bool) -> bool:
    return otherwise if value is None else value


def _positive(count: Auto) -> None:
    if count != "auto" and count < 1:
        raise UNSUPPORTED("Randomisations and their shots are whole numbers above 0, or auto.")


def _refuse_execution(execution: Execution) -> None:
    if execution.meas_type not in (None, "classified"):
        raise UNSUPPORTED("Twins have no raw signals.", why="Set meas_type to classified.")
    if not execution.init_qubits:
        raise UNSUPPORTED("Every shot begins with qubits in 0.", why="Leave init_qubits true.")


def _refuse(resilience: Resilience, program: str) -> None:
    if resilience.pec_mitigation or resilience.layer_noise_model is not None:
        raise UNSUPPORTED(
            "Mitigation by cancellation (pec_mitigation, layer_noise_model) is not done here.",
            why="It needs the noise of layers, which is not learned; measure_mitigation and "
            "zne_mitigation by gate folding are.",
        )
    if program != "estimator" and (resilience.measure_mitigation or resilience.zne_mitigation):
        raise UNSUPPORTED("Only an estimator's means are mitigated.")


def _zne(found: Zne) -> dict[str, Any]:
    """Return how to extrapolate; raise UNSUPPORTED for what does not fit together."""
    if not found.amplifier.startswith("gate_folding"):
        raise UNSUPPORTED(
            f"The amplifier {found.amplifier[:20]} is not known here.",
            why="gate_folding, gate_folding_front and gate_folding_back are.",
        )
    factors = [1.0, 3.0, 5.0] if found.noise_factors == "auto" else found.noise_factors
    points = found.extrapolated_noise_factors
    points = [0.0, *factors] if points == "auto" else points
    if not 0 < len(factors) <= FACTORS_MAX or min(factors) < 1 or max(factors) > FACTORS_MAX:
        raise UNSUPPORTED(f"zne.noise_factors are 1 to {FACTORS_MAX} numbers from 1 on.")
    if len(points) > FACTORS_MAX or min(points, default=0) < 0:
        raise UNSUPPORTED(f"zne.extrapolated_noise_factors are at most {FACTORS_MAX} from 0 on.")
    names = [found.extrapolator] if isinstance(found.extrapolator, str) else [*found.extrapolator]
    for name in names or ["none"]:
        if name not in _REQUIRED:
            raise UNSUPPORTED(
                f"The extrapolator {name[:30]} is not known.", why=", ".join(_REQUIRED)
            )
        if len(factors) < _REQUIRED[name]:
            raise UNSUPPORTED(f"{name} needs at least {_REQUIRED[name]} noise factors.")
    return {
        "amplifier": found.amplifier,
        "noise_factors": factors,
        "extrapolator": names,
        "extrapolated_noise_factors": points,
    }
