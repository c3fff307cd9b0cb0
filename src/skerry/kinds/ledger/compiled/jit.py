"""How functions are compiled, and where the machine code is kept.

The code is cached beside the sources. A cell may read but not write there, so the cache is filled
by whoever may: `python -m skerry.kinds.ledger.compiled`, run once after an installation. Where it
is missing, a process compiles for itself. The cache belongs to one state of all sources together.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import caching

FOLDER = Path(__file__).parent
CACHE = FOLDER / "__pycache__"
Function = TypeVar("Function", bound=Callable[..., Any])


@functools.cache
def stamp() -> str:
    """Return the digest of all sources here and of the compiler's version."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(FOLDER.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class BesideTheSources(caching._CacheLocator):
    """Finds the cache, whether or not it can be written to."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        self._lineno = py_func.__code__.co_firstlineno

    def ensure_cache_path(self) -> None:
        """See numba; a cache that cannot be written to is read all the same."""
        with contextlib.suppress(OSError):
            CACHE.mkdir(exist_ok=True)

    def get_cache_path(self) -> str:
        """See numba."""
        return str(CACHE)

    def get_source_stamp(self) -> str:
        """See numba: what the cached code was made from."""
        return stamp()

    def get_disambiguator(self) -> str:
        """See numba: which of the functions of one name."""
        return str(self._lineno)

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> BesideTheSources | None:
        """See numba: only functions of this folder are kept here."""
        return cls(py_func, py_file) if Path(py_file).parent == FOLDER else None


def writable() -> bool:
    """Tell whether this process may fill the cache."""
    return os.access(CACHE if CACHE.exists() else FOLDER, os.W_OK)


caching.CacheImpl._locator_classes.insert(0, BesideTheSources)


def jit(function: Function) -> Function:
    """Compile a function on its first call, or take it from the cache."""
    compiled: Any = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    save = compiled._cache.save_overload

    def save_if_allowed(signature: Any, data: Any) -> None:
        # A cell may read the cache only; it has compiled for itself, and that is all.
        with contextlib.suppress(OSError):
            save(signature, data)

    compiled._cache.save_overload = save_if_allowed
    jitted: Function = compiled
    return jitted


def part(function: Function) -> Function:
    """Compile a function into those that call it; it has no code of its own in the cache."""
    compiled: Function = numba.njit(nogil=True, error_model="numpy")(function)
    return compiled
