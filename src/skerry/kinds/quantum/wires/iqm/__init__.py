"""IQM Server's API, for iqm-client and Qiskit on IQM: twins of IQM's machines."""
