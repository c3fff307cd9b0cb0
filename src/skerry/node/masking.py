"""Which secrets of an app must not appear in its log lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from skerry.kernel.catalogue import Catalogue
from skerry.kernel.errors import KEY_DESTROYED, STORE_UNREACHABLE, SkerryError
from skerry.node.secrets import Vault


class Masking:
    """Knows the values to mask, by app; each is read once."""

    def __init__(self, catalogue: Catalogue, vault: Vault) -> None:
        self._catalogue = catalogue
        self._vault = vault
        self._values: dict[str, tuple[str, ...]] = {}
        self._old: dict[str, set[str]] = {}

    def __repr__(self) -> str:
        return f"Masking({len(self._values)} apps)"

    def values(self, app: str) -> tuple[str, ...]:
        """Return the values that must not appear in an app's log lines."""
        if app not in self._values:
            found = self._catalogue.apps.get(app)
            names = found.secrets if found else ()
            values = list(self._readable(app, names))
            lines = {line for value in values for line in value.splitlines()}
            masked = tuple(lines | self._old.get(app, set()))
            if len(values) < len(names):
                return masked
            self._values[app] = masked
        return self._values[app]

    def forget(self, app: str) -> None:
        """Read an app's secrets again when they are masked next.

        The old values stay masked until the node stops: processes that run still know them.
        """
        self._old[app] = self._old.get(app, set()) | set(self.values(app))
        self._values.pop(app, None)

    def _readable(self, app: str, names: Iterable[str]) -> Iterator[str]:
        """Yield the secrets whose key is open; nothing that runs knows the others either."""
        for name in names:
            try:
                yield self._vault.open(app, name)
            except SkerryError as error:
                if error.problem not in (STORE_UNREACHABLE, KEY_DESTROYED):
                    raise
