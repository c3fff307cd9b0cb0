"""The rights of whoever presents a token, while its request is carried out.

The dispatcher asks for the command itself; the decision point asks again for every place that
something of it would go to, because a command may lead to more than one. What a cell asks on behalf
of its resource is not the token's: it is asked by others too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import msgspec

from skerry.kernel.errors import DENIED
from skerry.node.token.biscuit import Token, allows
from skerry.node.token.limits import moment

UNKNOWN = "?"


class Deed(msgspec.Struct, frozen=True):
    """What a request is about, as far as it tells; what is empty is not told.

    `price` is the most that it may cost, in micro-units; None if that cannot be said.
    """

    verbs: tuple[str, ...]
    seconds: int
    app: str = ""
    branches: tuple[str, ...] = ()
    resource: str = ""
    country: str = ""
    price: int | None = 0

    def facts(self) -> str:
        """Return it in Datalog."""
        found = [f'verb("{each}");' for each in self.verbs]
        found.append(f"time({moment(self.seconds)});")
        found += [f'branch("{_plain(each)}");' for each in self.branches]
        for name in ("app", "resource", "country"):
            value = _plain(getattr(self, name))
            found += [f'{name}("{value}");'] if value else []
        found += [] if self.price is None else [f"price({self.price});"]
        return "\n".join(found)


class Rights(NamedTuple):
    """A token that is used, and the deed that it is used for."""

    token: Token
    deed: Deed

    def check(self, deed: Deed) -> None:
        """Raise DENIED, with the check that fails, unless the token allows a deed."""
        failed = allows(self.token, deed.facts())
        if failed:
            raise DENIED(
                f"The token {self.token.name} does not allow {deed.verbs[0]}.",
                why=f"It was narrowed: {failed}.",
                hint="skerry token inspect",
            )

    def allows_place(self, app: str | None, country: str) -> str:
        """Return '' if something of the deed may go to a country, else why not."""
        deed = msgspec.structs.replace(self.deed, app=app or self.deed.app, country=country)
        return allows(self.token, deed.facts())


_used: ContextVar[Rights | None] = ContextVar("skerry.rights", default=None)


def current() -> Rights | None:
    """Return the rights under which this is carried out; None for the operator and the node."""
    return _used.get()


@contextmanager
def under(rights: Rights | None) -> Iterator[None]:
    """Carry something out under rights; None lifts those that hold."""
    token = _used.set(rights)
    try:
        yield
    finally:
        _used.reset(token)


def _plain(text: str) -> str:
    """Return a text that can stand in Datalog; one that could not is none that a limit names."""
    odd = not text.isprintable() or any(each in text for each in '"\\{}')
    return UNKNOWN if odd else text
