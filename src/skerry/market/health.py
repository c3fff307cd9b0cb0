"""What `skerry doctor` says of the market on this machine."""

from __future__ import annotations

from skerry.kernel.commands import Check
from skerry.kernel.errors import SkerryError
from skerry.market.identity.keys import Wallet
from skerry.market.sdl.tree import load_yaml


def checks() -> list[Check]:
    """Return whether addresses can be made and deployment files read."""
    found = []
    try:
        Wallet(b"a key to try")
        found.append(Check("market addresses", True, "OpenSSL has RIPEMD-160"))
    except SkerryError as error:
        found.append(Check("market addresses", False, error.what, error.why))
    try:
        load_yaml()
        found.append(Check("market files", True, "PyYAML is installed"))
    except SkerryError as error:
        found.append(Check("market files", False, error.what, error.hint))
    return found
