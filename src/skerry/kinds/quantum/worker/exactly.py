"""The engines that Braket's simulators are here, and their bounds; nothing is imported for them."""

VECTOR = "braket-state-vector"
DENSITY = "braket-density-matrix"
ENGINES = frozenset({VECTOR, DENSITY})

COPIES = 5
"""How many states the simulators hold at once: measured with 12 qubits."""

NUMBERS_MAX = 1 << 18
"""How many numbers one result type may be: a state of 18 qubits, a density matrix of 9."""
