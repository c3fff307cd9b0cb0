"""Ways to machines as an app sees them: which providers lead to what, and what each still needs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from skerry.kernel.clock import Clock
from skerry.kernel.errors import SkerryError
from skerry.kinds.quantum import providers
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.catalogue.model import Device, Status
from skerry.kinds.quantum.device_reports import NOT_TRIED, ProviderRow
from skerry.kinds.quantum.providers.interface import Provider, Setting

KIND = "quantum"


def all_ways(clock: Clock) -> Iterator[Provider]:
    """Yield every provider, without credentials."""
    for name in providers.PROVIDERS:
        yield providers.find(name, Setting(clock, {}))


def leads_to(way: Provider, device: Device) -> bool:
    """Tell whether jobs can go to a machine by a provider, and the machine is offered."""
    if device.status not in (Status.OFFERED, Status.PREVIEW):
        return False
    try:
        way.places(device)
    except SkerryError:
        return False
    return True


def rows(node: Any, app: str) -> list[ProviderRow]:
    """Return every provider, with its state for an app; raise NOT_FOUND for one that is not."""
    known = _secrets(node, app) if app else None
    return [
        ProviderRow(
            way.name,
            state(way, known),
            way.secrets,
            tuple(each.id for each in load.devices().values() if leads_to(way, each)),
            way.booked or "none",
        )
        for way in all_ways(node.clock)
    ]


def of_device(node: Any, device: Device, app: str) -> tuple[str, ...]:
    """Return a line for every way to a machine: its name, and what is missing."""
    known = _secrets(node, app) if app else None
    return tuple(
        f"provider {way.name}: {state(way, known)}; {NOT_TRIED}"
        for way in all_ways(node.clock)
        if leads_to(way, device)
    )


def of_devices(node: Any, listed: Collection[str], app: str) -> tuple[str, ...]:
    """Return a line for every way to some of the devices: its state, and to which."""
    found = []
    for row in rows(node, app):
        reached = [each for each in row.devices if each in listed]
        if reached:
            found.append(f"provider {row.provider}: {row.state} ({', '.join(reached)})")
    return tuple(found)


def state(way: Provider, known: dict[str, bool] | None) -> str:
    """Say what a way needs; `known` are an app's secrets, and whether its resource is given them.

    Without an app, only what it needs is said.
    """
    if known is None:
        return f"needs {', '.join(way.secrets)}"
    missing = [each for each in way.secrets if each not in known]
    if missing:
        return f"credentials missing: {'; '.join(f'skerry secret set {each}' for each in missing)}"
    unnamed = [each for each in way.secrets if not known[each]]
    if unnamed:
        return f"not among the resource's `secrets` in skerry.toml: {', '.join(unnamed)}"
    return "credentials are set"


def _secrets(node: Any, app: str) -> dict[str, bool]:
    """Return the names of an app's secrets, each with whether a quantum resource names it."""
    found = node.catalogue.app(app)
    named: set[str] = set()
    main = found.branches.get("main")
    if main is not None:
        for each in node.catalogue.spec(main).resources:
            if each.kind == KIND:
                named.update(each.secrets)
    return {name: name in named for name in found.secrets}
