"""The board of providers: who may serve an order at all, and why the others may not.

A provider is a bit of a number, and what providers have in common is a number with several bits
set, so that a filter over hundreds of them is one `and`. Filters are applied in a fixed order; the
first that a provider fails is its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from skerry.market.core.entities import Group, Provider
from skerry.market.core.prices import in_units
from skerry.market.core.terms import Terms
from skerry.market.sdl.model import Attribute, GroupSpec

CACHE_MAX = 4096

Filter = tuple[str, int]
"""The reason for those who fail, and the bits of those who pass."""


class Board:
    """Every registered provider."""

    def __init__(self) -> None:
        self.providers: list[Provider] = []
        self._places: dict[str, int] = {}
        self._cache: dict[tuple[str, object], int] = {}

    def put(self, provider: Provider) -> None:
        """Add a provider, or take note that it changed."""
        place = self._places.get(provider.address)
        if place is None:
            self._places[provider.address] = len(self.providers)
            self.providers.append(provider)
        else:
            self.providers[place] = provider
        self._cache.clear()

    def changed(self) -> None:
        """Take note that some provider changed."""
        self._cache.clear()

    def place(self, address: str) -> int | None:
        """Return a provider's bit."""
        return self._places.get(address)

    def everybody(self) -> int:
        """Return the bits of all."""
        return (1 << len(self.providers)) - 1

    def filters(self, group: Group, bonds: Callable[[str], int]) -> list[Filter]:
        """Return what an order of a group demands, in the order in which it is demanded."""
        return list(self._filters(group.spec, group.terms, bonds))

    def _filters(
        self, spec: GroupSpec, terms: Terms, bonds: Callable[[str], int]
    ) -> Iterator[Filter]:
        if terms.countries:
            wanted = terms.countries
            yield (
                f"policy: its country is not {' or '.join(wanted)}",
                self._bits(("country", wanted), lambda each: each.country in wanted),
            )
        if terms.owners:
            owners = terms.owners
            yield (
                f"policy: its owner is not {' or '.join(owners)}",
                self._bits(
                    ("owner", owners), lambda each: each.address in owners or each.name in owners
                ),
            )
        if terms.not_providers:
            barred = terms.not_providers
            yield (
                "policy: it works on another replica of the same work",
                self._bits(("barred", barred), lambda each: each.address not in barred),
            )
        for reason in dict.fromkeys(reason for _, reason in terms.refused):
            those = tuple(name for name, why in terms.refused if why == reason)
            yield (
                f"policy: {reason}",
                self._bits(("refused", those), _is_none_of(those)),
            )
        if terms.isolation:
            isolation = terms.isolation
            yield (
                f"isolation: it does not offer {isolation}",
                self._bits(("isolation", isolation), lambda each: isolation in each.isolation),
            )
        yield from self._attribute_filters(spec)
        if terms.bond:
            yield (
                f"bond: it staked less than {in_units(terms.bond)}",
                self._bits(("bond", terms.bond), lambda each: bonds(each.address) >= terms.bond),
            )

    def _attribute_filters(self, spec: GroupSpec) -> Iterator[Filter]:
        for attribute in spec.attributes:
            pair = (attribute.key, attribute.value)
            yield (
                f"attribute: {attribute.key} is not {attribute.value}",
                self._bits(("attribute", pair), _has(attribute)),
            )
        for auditor in spec.signed_by_all:
            yield (
                f"auditor: {auditor} did not sign its attributes",
                self._bits(("signed", (auditor, spec.attributes)), _signed(auditor, spec)),
            )
        if spec.signed_by_any:
            some = 0
            for auditor in spec.signed_by_any:
                some |= self._bits(("signed", (auditor, spec.attributes)), _signed(auditor, spec))
            yield f"auditor: none of {', '.join(spec.signed_by_any)} signed its attributes", some

    def _bits(self, key: tuple[str, object], test: Callable[[Provider], bool]) -> int:
        found = self._cache.get(key)
        if found is None:
            found = 0
            for place, provider in enumerate(self.providers):
                found |= test(provider) << place
            if len(self._cache) >= CACHE_MAX:
                self._cache.clear()
            self._cache[key] = found
        return found


def places(bits: int) -> Iterator[int]:
    """Yield the places of the bits that are set."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def _is_none_of(names: tuple[str, ...]) -> Callable[[Provider], bool]:
    return lambda provider: provider.address not in names


def _has(attribute: Attribute) -> Callable[[Provider], bool]:
    return lambda provider: provider.attributes.get(attribute.key) == attribute.value


def _signed(auditor: str, spec: GroupSpec) -> Callable[[Provider], bool]:
    def test(provider: Provider) -> bool:
        signed = provider.signed.get(auditor)
        return signed is not None and all(
            signed.get(each.key) == each.value for each in spec.attributes
        )

    return test
