"""What the kind `functions` declares."""

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
    never,
)
from skerry.kinds.functions.config import FunctionsConfig

_NO_STATE = "A function keeps no state: its code is a version of the app, its data is in resources."


class TriggerParams(msgspec.Struct, frozen=True):
    """Which cron expression is due, and since when."""

    cron: Annotated[
        str, msgspec.Meta(description="the expression; by default the only one of the function")
    ] = ""
    time: Annotated[
        str, msgspec.Meta(description="the moment that was due, in RFC 3339; by default now")
    ] = ""


class Triggered(msgspec.Struct, frozen=True):
    """A cron run that ended well."""

    cron: str
    time: str
    seconds: float


MANIFEST = Manifest(
    name="functions",
    summary="Web apps (ASGI, WSGI), plain handlers and cron jobs in Python.",
    stands_in_for="Cloudflare Workers, Supabase Edge Functions",
    engine_info=EngineInfo(name="CPython", version="3.11"),
    engine="engine:FunctionsEngine",
    subject="subject:FunctionSubject",
    replicates=YES,
    can={
        Verb.BRANCH: YES,
        Verb.BRANCH_AT: never(_NO_STATE),
        Verb.SLEEP: YES,
        Verb.PLACE: YES,
        Verb.METER: YES,
        Verb.BACKUP: never(_NO_STATE),
        Verb.BIND: YES,
        Verb.EXPORT: never(_NO_STATE),
        Verb.IMPORT: never(_NO_STATE),
    },
    wires=(
        Wire(
            name="http",
            protocol="HTTP/1.1 and WebSocket",
            summary="What the function answers.",
            application="wire:make",
            connection="connection:connection",
            clients=(
                Client(name="curl", language="shell", line="curl {url}"),
                Client(name="browser", language="any", line="{host_url}"),
            ),
        ),
    ),
    binding="binding:bind",
    config=FunctionsConfig,
    units=(
        Unit("requests", "Requests and WebSockets that arrived, refused ones included."),
        Unit("errors", "Requests and cron runs that failed, ran out of time or were refused."),
        Unit("runs", "Cron runs that were started."),
    ),
    words=(
        Word(
            "trigger",
            "Run `scheduled` now, as its cron expression would.",
            TriggerParams,
            Triggered,
            "trigger",
            mutates=True,
        ),
    ),
    actions=("trigger",),
    own_process=True,
    keeps_state=False,
    public=True,
    schedules="schedules:schedules",
    package=__package__ or "",
)
