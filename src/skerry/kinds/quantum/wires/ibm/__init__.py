"""IBM Quantum's API, for qiskit-ibm-runtime."""
