"""What the kind declares: a way out that is in order, as far as a manifest can tell."""

from __future__ import annotations

import msgspec

from skerry.kernel.manifest import YES, EngineInfo, Manifest, Verb, Wire, never


class LeakyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`asks` says when policy is asked: first, late, or never."""

    to: str = ""
    asks: str = "first"


MANIFEST = Manifest(
    name="leaky",
    summary="Sends what it is asked to",
    stands_in_for="nothing",
    engine_info=EngineInfo(name="none", version="1"),
    engine="engine:LeakyEngine",
    subject="subject:LeakySubject",
    keeps_state=False,
    replicates=YES,
    can={
        each: YES if each in (Verb.PLACE, Verb.SLEEP) else never("it only sends") for each in Verb
    },
    wires=(
        Wire(
            name="http",
            protocol="HTTP",
            summary="any request sends",
            application="engine:application",
            connection="engine:connection",
        ),
    ),
    config=LeakyConfig,
    leaves=("leaky:send",),
)
