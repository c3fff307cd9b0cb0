"""Replicating files: those that grow, those that never change, and SQLite's write-ahead log."""

from skerry.kinds._shared.replica.state import StateReplica

__all__ = ["StateReplica"]
