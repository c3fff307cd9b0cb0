"""What a client asks, and what it gets."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from skerry.kinds.models.gateway.keyring import KeyState
from skerry.kinds.models.gateway.tally import Tally


@dataclass(slots=True)
class Ask:
    """What a client wants. `operation` is chat, completions or embeddings."""

    operation: str
    body: dict[str, Any]
    state: KeyState
    fresh: bool = False
    keep: bool = False

    @property
    def streams(self) -> bool:
        """Whether the answer comes in parts; embeddings come whole whatever is asked."""
        return self.operation != "embeddings" and bool(self.body.get("stream"))


@dataclass(slots=True)
class Answer:
    """What the client gets: a whole body, or a first event and those that follow.

    Whoever has the events closes them, so that a call that nobody reads any more ends.
    """

    headers: dict[str, str]
    body: bytes | None = None
    first: bytes = b""
    events: AsyncGenerator[bytes, None] | None = None
    tally: Tally | None = None
    cost: Callable[[], int | None] | None = None
