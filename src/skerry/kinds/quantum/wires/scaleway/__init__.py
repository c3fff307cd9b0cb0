"""Scaleway's Quantum as a Service, for qiskit-scaleway and scaleway-qaas-client."""
