"""What the Postgres port bears."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one front bears."""

    connections: int = 10_000
    connections_per_second: float = 500.0
    burst: float = 1000.0
    handshake_seconds: float = 15.0
    wake_seconds: float = 60.0
    held_bytes: int = 1 << 20
    pooler_seconds: float = 60.0
