"""What a client of Hrana is told when something fails."""

from __future__ import annotations

from typing import Any


class HranaError(Exception):
    """An error that a client sees: a message, a code, and SQLite's extended code if any."""

    def __init__(self, message: str, code: str, extended: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.extended = extended

    def answer(self) -> dict[str, Any]:
        """Return Hrana's `Error`."""
        shape = {"message": self.message, "code": self.code}
        if self.extended:
            shape["extended_code"] = self.extended
        return shape
