"""The ports of a node: which there are, and which numbers the operator wants for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from skerry.kernel.errors import CONFLICT, INVALID, SkerryError
from skerry.kernel.manifest import Manifest
from skerry.kernel.names import did_you_mean
from skerry.kernel.service import Service


class Ports:
    """Those of wires that have a port and of services; `chosen` are numbers that were said."""

    def __init__(
        self,
        manifests: Iterable[Manifest],
        services: Iterable[Service],
        chosen: Mapping[str, int],
    ) -> None:
        wires = (wire for each in manifests for wire in each.wires if wire.front)
        self._usual = {wire.name: wire.port for wire in wires}
        for service in services:
            self._usual |= service.ports
        self.chosen = chosen

    def check(self) -> None:
        """Raise INVALID if a number was said for a port that there is not."""
        for name in self.chosen:
            if name not in self._usual:
                raise INVALID(
                    f"There is no port named {name}.",
                    why=did_you_mean(name, self._usual),
                    hint="skerry up --help (--http-port is that of HTTP)",
                )

    def wanted(self, name: str) -> int:
        """Return the number to open: the one that was said, else the usual one."""
        return self.chosen.get(name, self._usual[name])


def taken(what: str, host: str, port: int, flag: str, error: OSError) -> SkerryError:
    """Return the error about a port that cannot be opened."""
    return CONFLICT(
        f"Port {port} of {host} cannot be opened for {what}.",
        why=str(error.strerror or error),
        hint=f"skerry up {flag}",
    )
