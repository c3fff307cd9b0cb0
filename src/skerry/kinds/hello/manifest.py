"""What kind hello declares."""

from __future__ import annotations

from typing import Annotated

import msgspec

from skerry.kernel.manifest import (
    YES,
    Client,
    EngineInfo,
    Manifest,
    Unit,
    Verb,
    Wire,
    Word,
    not_yet,
)


class HelloConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a hello resource."""

    greeting: Annotated[str, msgspec.Meta(description="what it says before a name")] = "Hello"


class Greet(msgspec.Struct, frozen=True):
    """Parameters of `hello greet`."""

    guest: Annotated[str, msgspec.Meta(description="who is greeted", extra={"positional": True})]


class Greeted(msgspec.Struct, frozen=True):
    """A greeting, and how often that guest has been greeted."""

    text: str
    times: int


MANIFEST = Manifest(
    name="hello",
    summary="Greets guests and remembers how often: the template of a kind",
    stands_in_for="nothing; copy it with `skerry kind new`",
    engine_info=EngineInfo(name="a file of lines", version="1"),
    engine="engine:HelloEngine",
    binding="binding:bind",
    subject="subject:HelloSubject",
    replicates=YES,
    replica="replica:StateReplica",
    can={
        Verb.BRANCH: YES,
        Verb.BRANCH_AT: not_yet("the file keeps no times"),
        Verb.SLEEP: YES,
        Verb.PLACE: YES,
        Verb.METER: YES,
        Verb.BACKUP: YES,
        Verb.BIND: YES,
        Verb.EXPORT: YES,
        Verb.IMPORT: YES,
    },
    wires=(
        Wire(
            name="http",
            protocol="HTTP",
            summary="GET /<guest> greets; GET / lists the guests",
            application="wire:application",
            gate="gate:gate",
            connection="wire:connection",
            clients=(Client("curl", "shell", 'curl -H "Authorization: Bearer {token}" {url}/ada'),),
        ),
    ),
    config=HelloConfig,
    units=(Unit("greetings", "greetings said"),),
    words=(Word("greet", "Greet a guest", Greet, Greeted, action="hello:greet", mutates=True),),
    actions=("hello:greet",),
)
