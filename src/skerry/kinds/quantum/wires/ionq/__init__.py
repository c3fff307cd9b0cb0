"""IonQ's API v0.4, for qiskit-ionq and cirq-ionq."""
