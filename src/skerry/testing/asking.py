"""What a test of the conformance suite may ask of a kind."""

from __future__ import annotations

import pytest

from skerry.kernel.manifest import Verb
from skerry.testing.lab import Lab


def need(lab: Lab, *verbs: Verb, state: bool = True) -> None:
    """Skip a test that asks for what the kind says that it cannot do, with the kind's reason."""
    for verb in verbs:
        capability = lab.manifest.can[verb]
        if not lab.manifest.able(verb):
            pytest.skip(f"{lab.manifest.name} {verb}: {capability.answer}: {capability.reason}")
    if state and not lab.manifest.keeps_state:
        pytest.skip(f"{lab.manifest.name} keeps no state")
