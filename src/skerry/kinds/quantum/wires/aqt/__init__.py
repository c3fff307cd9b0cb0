"""AQT's portal and its direct access, for qiskit-aqt-provider: the twin of AQT's ion trap."""
