"""Where photons leave a linear circuit: all outcomes at once, photon by photon.

Amplitudes of photons that cannot be told apart grow by one photon at a time over all states of so
many photons (SLOS, arXiv:2206.10549); a photon of its own adds to chances instead. States of n
photons in m modes are numbered in the order of their texts.

The noise is Perceval's model of a source (arXiv:2211.15626): a pulse holds a photon by
`brightness`, a second one so that the intensity correlates by `g2`; a photon is in the state that
all share with chance sqrt(`indistinguishability`); each is lost with chance 1 - `transmittance`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

WEIGHT_MIN = 1e-10
"""Cases of the source that are less likely than this are left out, and the rest made whole."""


class Noise(NamedTuple):
    """What makes photons imperfect; by default they are perfect."""

    brightness: float = 1.0
    indistinguishability: float = 1.0
    g2: float = 0.0
    transmittance: float = 1.0
    g2_distinguishable: bool = True


Spread = list[Any]
"""The chances of all states of 0, 1, 2, … photons, one array for each number."""


def count(photons: int, modes: int) -> int:
    """Return how many states some photons have in some modes."""
    return math.comb(photons + modes - 1, photons)


@lru_cache(maxsize=16)
def states(photons: int, modes: int) -> Any:
    """Return all states as rows of numbers of photons."""
    if modes == 1:
        return np.array([[photons]], dtype=np.int8)
    parts = []
    for first in range(photons + 1):
        rest = states(photons - first, modes - 1)
        parts.append(np.hstack([np.full((len(rest), 1), first, dtype=np.int8), rest]))
    return np.vstack(parts)


@lru_cache(maxsize=16)
def _with_one_more(photons: int, modes: int) -> Any:
    """Return which state each state becomes by one more photon in each of the modes."""
    rows = states(photons, modes).astype(np.int64)
    left = photons - np.cumsum(rows, axis=1) + rows
    table = np.array(
        [[count(n, m) if m else 0 for m in range(modes + 1)] for n in range(photons + 2)]
    )
    wide = np.arange(modes, 0, -1)
    same = table[left, wide] - table[left - rows, wide]
    more = table[left + 1, wide] - table[left + 1 - rows, wide]
    own = table[left + 1, wide] - table[left - rows, wide]
    before = np.cumsum(more, axis=1) - more
    behind = np.cumsum(same[:, ::-1], axis=1)[:, ::-1] - same
    return before + own + behind


def together(unitary: Any, sources: Sequence[int]) -> Any:
    """Return the chances of all states of photons that cannot be told apart."""
    modes = len(unitary)
    amplitudes = np.ones(1, dtype=complex)
    for photons, source in enumerate(sources):
        rows, goes = states(photons, modes), _with_one_more(photons, modes)
        grown = np.zeros(count(photons + 1, modes), dtype=complex)
        for mode in range(modes):
            if unitary[mode, source] != 0:
                factor = unitary[mode, source] * np.sqrt(rows[:, mode] + 1.0)
                grown[goes[:, mode]] += factor * amplitudes
        amplitudes = grown
    bunched = math.prod(math.factorial(sources.count(each)) for each in set(sources))
    return np.abs(amplitudes) ** 2 / bunched


def _with_own(spread: Spread, chances: Any, odds: Sequence[float]) -> Spread:
    """Return outcomes with 0, 1, … more photons by some odds, which interfere with none."""
    modes = len(chances)
    found = [odds[0] * each for each in spread]
    current = spread
    for share in odds[1:]:
        grown = [np.zeros(1)]
        for photons, each in enumerate(current):
            added = np.zeros(count(photons + 1, modes))
            goes = _with_one_more(photons, modes)
            for mode in range(modes):
                if chances[mode]:
                    added[goes[:, mode]] += chances[mode] * each
            grown.append(added)
        current = grown
        if share:
            found += [np.zeros_like(each) for each in current[len(found) :]]
            found = [one + share * other for one, other in zip(found, current, strict=True)]
    return found


def pulse(noise: Noise) -> dict[int, list[float]]:
    """Return what comes of one photon that is asked for.

    By the number of photons in the state that all share: the chances of 0, 1 or 2 others.
    """
    bright, g2 = noise.brightness, noise.g2
    second = 0.0
    if g2:
        inner = max(0.0, 1 - 2 * g2 * bright)
        second = (1 - g2 * bright - math.sqrt(inner)) / g2
    shared = math.sqrt(noise.indistinguishability)
    kept = noise.transmittance
    found: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    found[0][0] += 1 - bright
    for first_shares, odds in ((True, shared), (False, 1 - shared)):
        first = (int(first_shares), int(not first_shares))
        extra = (0, 1) if noise.g2_distinguishable else (1, 0)
        for chance, photons in ((bright - second, (first,)), (second, (first, extra))):
            for lost in product((False, True), repeat=len(photons)):
                weight = chance * odds
                for is_lost in lost:
                    weight *= 1 - kept if is_lost else kept
                here = [each for each, gone in zip(photons, lost, strict=True) if not gone]
                found[sum(a for a, _ in here)][sum(b for _, b in here)] += weight
    return {number: odds for number, odds in found.items() if sum(odds) > 0.0}


def distribution(unitary: Any, photons: Sequence[int], noise: Noise) -> Spread:
    """Return the chances of all outcomes of photons that are asked for, one a source."""
    sources = [mode for mode, number in enumerate(photons) for _ in range(number)]
    modes = len(unitary)
    each = pulse(noise)
    most = max(a + b for a, odds in each.items() for b, chance in enumerate(odds) if chance)
    total: Spread = [np.zeros(count(n, modes)) for n in range(most * len(sources) + 1)]
    cases: dict[tuple[tuple[int, ...], tuple[tuple[int, int], ...]], float] = defaultdict(float)
    for shares in product(each, repeat=len(sources)):
        weight = math.prod(sum(each[number]) for number in shares)
        if weight >= WEIGHT_MIN:
            pairs = tuple(sorted(zip(sources, shares, strict=True)))
            same = tuple(source for source, number in pairs for _ in range(number))
            cases[same, pairs] += weight
    memory: dict[tuple[int, ...], Any] = {}
    for (same, pairs), weight in cases.items():
        if same not in memory:
            memory[same] = together(unitary, list(same))
        spread: Spread = [np.zeros(count(n, modes)) for n in range(len(same))] + [memory[same]]
        for source, number in pairs:
            odds = [chance / sum(each[number]) for chance in each[number]]
            while odds and odds[-1] == 0.0:
                odds.pop()
            if odds != [1.0]:
                spread = _with_own(spread, np.abs(unitary[:, source]) ** 2, odds)
        for number, chances in enumerate(spread):
            total[number] += weight * chances
    whole = sum(float(chances.sum()) for chances in total)
    return [chances / whole for chances in total]
