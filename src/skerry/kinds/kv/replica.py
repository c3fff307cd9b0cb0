"""How kind kv follows on another node: as files, and as SQLite's log where there is one."""

from skerry.kinds._shared.replica import StateReplica

__all__ = ["StateReplica"]
