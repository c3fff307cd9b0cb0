"""Ways to the machines themselves: vendors' APIs by plain HTTP, one module each.

None was tried against its vendor where it was written; every result that comes by one says so.
"""

from __future__ import annotations

import importlib

from skerry.kernel.errors import UNSUPPORTED
from skerry.kinds.quantum.providers.interface import Provider, Setting

_HERE = "skerry.kinds.quantum.providers"
PROVIDERS = {
    "aqt": f"{_HERE}.aqt:AQT",
    "azure": f"{_HERE}.azure:Azure",
    "braket": f"{_HERE}.braket:Braket",
    "ibm": f"{_HERE}.ibm:IBM",
    "ionq": f"{_HERE}.ionq:IonQ",
    "iqm": f"{_HERE}.iqm:IQM",
    "pasqal": f"{_HERE}.pasqal:Pasqal",
    "quandela": f"{_HERE}.quandela:Quandela",
    "scaleway": f"{_HERE}.scaleway:Scaleway",
}
"""Names of providers, and their classes.

Google's service is none of them: it takes Cirq's own binary messages over gRPC from projects that
were invited, and no machine of it is sold.
"""


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
