"""Ways to the machines themselves: vendors' APIs by plain HTTP, one module each.

None was tried against its vendor where it was written; every result that comes by one says so.
"""

from __future__ import annotations

import importlib

from skerry.kernel.errors import UNSUPPORTED
from skerry.kinds.quantum.providers.interface import Provider, Setting

PROVIDERS = {
    "ionq": "skerry.kinds.quantum.providers.ionq:IonQ",
    "braket": "skerry.kinds.quantum.providers.braket:Braket",
}
"""Names of providers, and their classes."""


def find(name: str, setting: Setting) -> Provider:
    """Return a provider; raise UNSUPPORTED for one that is not known."""
    if name not in PROVIDERS:
        raise UNSUPPORTED(
            f"There is no way from here by {name[:40]!r}.",
            why=f"Known: {', '.join(sorted(PROVIDERS))}, and `twin`.",
            hint="Leave the provider out: the job then runs on the twin.",
        )
    module, _, attribute = PROVIDERS[name].partition(":")
    made: Provider = getattr(importlib.import_module(module), attribute)(setting)
    return made
