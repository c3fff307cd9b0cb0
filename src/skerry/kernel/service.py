"""What a service declares about itself; every surface is derived from it.

A **service** is a part of a node that is not a resource of an app: the market, off-site backup,
policy, or the words of a kind that need no resource. It is a folder with a `service.py`, which
holds data and dotted names only; its name is the folder's. The code behind a name
(`market:Market`) is imported when it is first used, relative to the service's own package.

    SERVICE = Service(
        name="market",
        summary="Buy and sell compute",
        commands=(Command("market.bids", "Show the bids on an order", OfOrder, list[Bid]),),
        handler="handler:Handler",
    )

The handler is made with the node when it starts (`Handler(node)`); its `start()` and `stop()` are
awaited if it has them. A method `do_bids(params, progress)` carries out `market.bids`, and
`do_provider_start` carries out `market.provider.start`; an iterator `stream_logs(params)` yields
the results of `market.logs` if that command streams. What a service uses is posted to the ledger if
its handler has `readings()`; `accounts()` names the accounts of it that are not those of apps. What
`skerry doctor` says of a service that runs is awaited from its handler's `examine()`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from skerry.kernel.commands import Command
from skerry.kernel.names import is_name


@dataclass(frozen=True, slots=True)
class Mount:
    """Paths of the node's own address that a service answers itself: those below `prefix`.

    `application` names a function from the handler to an ASGI application. It authenticates every
    request by itself, in the native way of its clients.
    """

    prefix: str
    application: str

    def __post_init__(self) -> None:
        assert self.prefix.startswith("/"), self.prefix
        assert not self.prefix.startswith("/@"), "paths of apps begin so"


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the console.

    `path` may have parameters (`/market/orders/{order}`). `view` names an async function from a
    visit to the template's values; `template` lies in the service's folder `views`. A template
    `live` beside it is rendered anew with the same values every second wherever the page says
    `hx-sse:connect="{{ live }}"`. `menu` is the page's word in the menu; without it, it has none.
    """

    path: str
    title: str
    view: str
    template: str
    live: str = ""
    menu: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """All that the rest of Skerry knows about a service.

    `words` are commands that stand at the top of the command line too (`{"restore":
    "backup.restore"}`). `config` is the type of the table `[<service>]` in `skerry.toml`, which
    `AppSpec.services` holds as plain values. `ports` are those that it may open, with their
    defaults; `skerry up --port` and the node's config.toml choose others. `checks` names
    `function() -> list[Check]`: what `skerry doctor` says of the service.
    """

    name: str
    summary: str
    commands: tuple[Command, ...]
    handler: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    pages: tuple[Page, ...] = ()
    config: type[msgspec.Struct] | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    checks: str = ""
    package: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        assert is_name(self.name), self.name
        names = {each.name for each in self.commands}
        assert all(name.startswith(f"{self.name}.") for name in names), self.name
        assert set(self.words.values()) <= names, self.name

    def load(self, dotted: str) -> Any:
        """Import what `module:attribute` names inside the service's package."""
        module, _, attribute = dotted.partition(":")
        return getattr(importlib.import_module(f"{self.package}.{module}"), attribute)


def read_services(packages: Iterable[str]) -> dict[str, Service]:
    """Import the declarations of packages of services; return them by the service's name."""
    found = {}
    for package in packages:
        service = importlib.import_module(f"{package}.service").SERVICE
        assert isinstance(service, Service), package
        assert service.name == package.rpartition(".")[2], package
        commands = tuple(replace(each, service=service.name) for each in service.commands)
        found[service.name] = replace(service, package=package, commands=commands)
    return found
