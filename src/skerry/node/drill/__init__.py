"""Drills: criteria that can be run, each with a verdict in the audit log."""
