"""`env`: what the code of users is given by name: bindings, secrets and variables.

Handlers receive it as an argument; any module of an app may also `from skerry import env`. A
process runs the code of one resource only, so there is one environment in a process.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping
from typing import Any

from skerry.kernel.errors import CONFIG_INVALID
from skerry.kernel.names import did_you_mean, is_secret_name


def attribute_name(name: str) -> str:
    """Return how Python code spells a name of `skerry.toml`: `my-db` is `env.my_db`."""
    spelt = name.replace("-", "_")
    return f"{spelt}_" if keyword.iskeyword(spelt) else spelt


class Environment:
    """What one resource is given; unknown names fail with the place where to add them.

    Values are reached as attributes (`env.my_db`) or by their names in skerry.toml
    (`env["my-db"]`). Its representation shows names only.
    """

    __slots__ = ("_attributes", "_names", "_owner")

    def __init__(self, owner: str, values: Mapping[str, Any]) -> None:
        self._owner = owner
        self._names = dict(values)
        self._attributes: dict[str, Any] = {}
        for name, value in values.items():
            attribute = attribute_name(name)
            if attribute in self._attributes:
                raise CONFIG_INVALID(
                    f"[{owner}] is given two things that are both env.{attribute}.",
                    hint="Rename one of them in skerry.toml.",
                )
            self._attributes[attribute] = value

    def __getattr__(self, name: str) -> Any:
        try:
            return self._attributes[name]
        except KeyError:
            raise AttributeError(self._unknown(name, self._attributes)) from None

    def __getitem__(self, name: str) -> Any:
        try:
            return self._names[name]
        except KeyError:
            raise KeyError(self._unknown(name, self._names)) from None

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __dir__(self) -> list[str]:
        return sorted(self._attributes)

    def __repr__(self) -> str:
        return f"<env of {self._owner}: {', '.join(sorted(self._names)) or 'empty'}>"

    def _unknown(self, name: str, known: Mapping[str, Any]) -> str:
        value = f"; a secret needs a value too: skerry secret set {name}"
        return (
            f"env has no {name!r}. {did_you_mean(name, known)} Add it to the bindings, secrets or "
            f"vars of [{self._owner}] in skerry.toml{value if is_secret_name(name) else ''}."
        )


class CurrentEnvironment:
    """The environment of this process, once its code is about to be started."""

    __slots__ = ("_installed",)

    def __init__(self) -> None:
        self._installed: Environment | None = None

    def install(self, environment: Environment) -> None:
        """Make `environment` the one that `from skerry import env` means."""
        self._installed = environment

    def remove(self, environment: Environment) -> None:
        """Take `environment` away again; harmless if another one took its place."""
        if self._installed is environment:
            self._installed = None

    def _environment(self) -> Environment:
        if self._installed is None:
            raise RuntimeError("env exists only in code that a node runs: try `skerry dev`.")
        return self._installed

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._environment(), name)

    def __getitem__(self, name: str) -> Any:
        return self._environment()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._environment()

    def __iter__(self) -> Iterator[str]:
        return iter(self._environment())

    def __dir__(self) -> list[str]:
        return dir(self._environment())

    def __repr__(self) -> str:
        return repr(self._installed) if self._installed is not None else "<env of nothing>"


env = CurrentEnvironment()
