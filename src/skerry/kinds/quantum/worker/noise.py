"""The noise of a twin: Pauli errors at the published rates, and errors of reading.

Every gate is followed by a depolarising channel whose average infidelity is the published one: for
dimension d, the chance of a Pauli error is `error * (d + 1) / d`. Waiting qubits decay by their T1
and T2, twirled into Pauli errors (arXiv:1305.2021). Reading flips bits by the published chances.
One model serves every engine, so that engines can be compared. What is not published is not
modelled: crosstalk, leakage, coherent errors and drift.

Where a circuit decides while it runs, reading takes its published time, during which others wait;
both branches end when the longer one does. In every round of a loop all qubits wait until its end.
How long the decision itself takes is not published.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .conditions import bits_of
from .devices import Device, Qubit, is_virtual
from .ir import BLOCKS, NOT_GATES, Circuit, Op, UnsupportedError, decided, flat, is_dynamic

DEPOLARISE_1 = "depolarise1"
DEPOLARISE_2 = "depolarise2"
PAULI = "pauli"
CHANNELS = frozenset({DEPOLARISE_1, DEPOLARISE_2, PAULI})
"""Operations that stand for noise: their parameters are chances."""

_MOST = {DEPOLARISE_1: 0.75, DEPOLARISE_2: 15 / 16}


@dataclass
class Noisy:
    """A circuit with noise as operations, the chances to read each bit wrongly, and the odds.

    `reads` holds (chance to read 0 as 1, chance to read 1 as 0) of every bit. `fidelity` is the
    chance that nothing at all goes wrong in one shot.
    """

    circuit: Circuit
    reads: list[tuple[float, float]] = field(default_factory=list)
    fidelity: float = 1.0

    @property
    def is_noisy(self) -> bool:
        """Tell whether the circuit itself, not only its reading, has noise."""
        return any(op[0] in CHANNELS for op in flat(self.circuit["ops"]))


def ideal(circuit: Circuit) -> Noisy:
    """Return a circuit as it is, without noise."""
    return Noisy(circuit, [(0.0, 0.0)] * circuit["bits"])


class _Clock:
    """When each qubit is free, and what it suffers while it waits."""

    def __init__(self, qubits: list[Qubit], pessimism: float) -> None:
        self._free = [0.0] * len(qubits)
        self._known: dict[int, float] = {}
        self._qubits = qubits
        self._pessimism = pessimism

    def start(
        self, places: Iterable[int], *, together: bool = False, bits: Iterable[int] = ()
    ) -> list[Op]:
        """Return the errors of qubits that wait until all of them are free, and bits are known."""
        places = list(places)
        begin = max(self._free if together else (self._free[each] for each in places), default=0.0)
        begin = max([begin, *(self._known.get(bit, 0.0) for bit in bits)])
        found = []
        for each in places:
            channel = self._waiting(each, begin - self._free[each])
            if channel:
                found.append(channel)
            self._free[each] = begin
        return found

    def spend(self, places: list[int], seconds: float) -> None:
        """Note that qubits are busy."""
        for each in places:
            self._free[each] += seconds

    def learn(self, bit: int, place: int) -> None:
        """Note that a bit is known once its qubit is free again."""
        self._known[bit] = self._free[place]

    def compute(self, bit: int, bits: Iterable[int]) -> None:
        """Note that a bit is known once those are that it is computed of."""
        self._known[bit] = max((self._known.get(each, 0.0) for each in bits), default=0.0)

    def block(self, op: Op, run: Callable[[list[Op]], list[Op]]) -> list[Op]:
        """Return an `if` or a loop with the errors in it, after those before it."""
        name, places, params = op
        bits = bits_of(params[0])
        if name == "if":
            waiting = self.start(places, bits=bits)
            return [*waiting, decided(op, *self._branches(run, params[1], params[2]))]
        every = range(len(self._qubits))
        waiting = self.start(every, bits=bits)
        return [*waiting, decided(op, [*run(params[1]), *self.start(every)], [])]

    def _branches(self, run: Callable[[list[Op]], list[Op]], *given: list[Op]) -> list[list[Op]]:
        """Return branches with their errors; the shorter ones wait for the longest."""
        before, known = list(self._free), dict(self._known)
        ended, found = [], []
        for each in given:
            self._free, self._known = list(before), dict(known)
            found.append(run(each))
            ended.append((self._free, self._known))
        self._free = [max(times) for times in zip(*(free for free, _ in ended), strict=True)]
        for ops, (free, learned) in zip(found, ended, strict=True):
            self._known |= {b: max(t, self._known.get(b, 0.0)) for b, t in learned.items()}
            for place, end in enumerate(self._free):
                channel = self._waiting(place, end - free[place])
                ops.extend([channel] if channel else [])
        return found

    def wait(self, place: int, seconds: float) -> list[Op]:
        """Return the errors of a qubit that waits for a time."""
        self._free[place] += seconds
        channel = self._waiting(place, seconds)
        return [channel] if channel else []

    def _waiting(self, place: int, seconds: float) -> Op | None:
        qubit, seconds = self._qubits[place], seconds * self._pessimism
        if seconds <= 0.0 or not (qubit.t1 or qubit.t2):
            return None
        relaxed = 0.0 if not qubit.t1 else -math.expm1(-seconds / qubit.t1)
        dephased = relaxed / 2 if not qubit.t2 else -math.expm1(-seconds / qubit.t2)
        flip = relaxed / 4
        return [PAULI, [place], [flip, flip, max(dephased / 2 - flip, 0.0)]]


def twin(circuit: Circuit, device: Device, pessimism: float) -> Noisy:
    """Return a compiled circuit with the device's noise; its labels say which qubits it uses."""
    qubits = [device.qubit(label) for label in circuit["labels"]]
    clock = _Clock(qubits, pessimism)
    timed = is_dynamic(circuit)

    def run(given: list[Op]) -> list[Op]:
        return _suffered(given, circuit["labels"], qubits, device, pessimism, clock, timed)

    noisy = Noisy({**circuit, "ops": run(circuit["ops"])}, _reads(circuit, qubits, pessimism))
    noisy.fidelity = _fidelity(noisy)
    return noisy


def _suffered(
    given: list[Op],
    labels: list[str],
    qubits: list[Qubit],
    device: Device,
    pessimism: float,
    clock: _Clock,
    timed: bool,
) -> list[Op]:
    ops: list[Op] = []

    def run(branch: list[Op]) -> list[Op]:
        return _suffered(branch, labels, qubits, device, pessimism, clock, timed)

    for op in given:
        name, places, params = op
        if name in BLOCKS:
            ops += clock.block(op, run)
        elif name == "measure":
            ops += [*clock.start(places, together=not timed), op]
            if timed:
                clock.spend(places, device.read_seconds)
                clock.learn(params[0], places[0])
        elif name in NOT_GATES:
            if name == "delay":
                ops += clock.wait(places[0], params[0])
            elif name == "set":
                clock.compute(params[0], bits_of(params[1]))
            ops.append(op)
        else:
            ops += clock.start(places)
            ops.append(op)
            ops += _gate_errors(op, labels, qubits, device, pessimism)
            if not is_virtual(name, params):
                seconds = device.one_seconds if len(places) == 1 else device.two_seconds
                clock.spend(places, seconds)
    return ops


def _gate_errors(
    op: Op, labels: list[str], qubits: list[Qubit], device: Device, pessimism: float
) -> list[Op]:
    name, places, params = op
    if is_virtual(name, params):
        return []
    if len(places) == 1:
        chance, kind = qubits[places[0]].error * 1.5, DEPOLARISE_1
    elif len(places) == 2:
        error = device.pair_error(labels[places[0]], labels[places[1]])
        if error is None:
            raise UnsupportedError(f"No figure for {labels[places[0]]}-{labels[places[1]]}.")
        chance, kind = error * 1.25, DEPOLARISE_2
    else:
        raise UnsupportedError(f"{name} on {len(places)} qubits has no published error.")
    chance = min(chance * pessimism, _MOST[kind])
    return [[kind, places, [chance]]] if chance > 0.0 else []


def _reads(circuit: Circuit, qubits: list[Qubit], pessimism: float) -> list[tuple[float, float]]:
    found = [(0.0, 0.0)] * circuit["bits"]
    for name, places, params in flat(circuit["ops"]):
        if name == "measure":
            qubit = qubits[places[0]]
            wrong = (qubit.r01 * pessimism, qubit.r10 * pessimism)
            found[params[0]] = (min(wrong[0], 0.5), min(wrong[1], 0.5))
    return found


def _fidelity(noisy: Noisy) -> float:
    logarithm = _worst(noisy.circuit["ops"])
    for low, high in noisy.reads:
        logarithm += math.log1p(-min((low + high) / 2, 1 - 1e-12))
    return math.exp(logarithm)


def _worst(ops: list[Op]) -> float:
    """Return the logarithm of the chance that nothing goes wrong, by the worse of two branches.

    Loops that measured bits end count once.
    """
    logarithm = 0.0
    for name, _, params in ops:
        if name in BLOCKS:
            logarithm += min(_worst(params[1]), _worst(params[2]))
        elif name in CHANNELS:
            logarithm += math.log1p(-min(sum(params), 1 - 1e-12))
    return logarithm
