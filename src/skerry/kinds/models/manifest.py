"""What the kind `models` declares."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated

import msgspec

from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.commands import about
from skerry.kernel.errors import INVALID
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
from skerry.kinds.models.config import ModelsConfig
from skerry.kinds.models.state.limits import Limits, Period

if TYPE_CHECKING:
    from skerry.kinds.models.gateway.keyring import KeyState
    from skerry.kinds.models.gateway.profiles import Profile
    from skerry.kinds.models.gateway.routes import Provider
    from skerry.kinds.models.state.calls import Call

MICRO = 1_000_000


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of a word."""


class Nothing(Params, frozen=True):
    """No parameters."""


class KeyCreate(Params, frozen=True):
    """A key and its limits; what is not said is not limited."""

    key: Annotated[str, about("the key's name", positional=True)]
    budget: Annotated[float | None, about("euro that it may cost in a period")] = None
    period: Annotated[Period, about("what the budget is for: day, month or ever")] = Period.MONTH
    requests_per_minute: Annotated[int | None, about("calls in each minute of the clock")] = None
    tokens_per_minute: Annotated[int | None, about("tokens in each minute of the clock")] = None
    models: Annotated[str, about("names that it may ask for, with commas; by default all")] = ""
    note: Annotated[str, about("what it is for")] = ""


class KeyNamed(Params, frozen=True):
    """A key."""

    key: Annotated[str, about("the key's name", positional=True)]


class AliasSet(Params, frozen=True):
    """An alias and the models that it means, tried in this order."""

    alias: Annotated[str, about("the alias", positional=True)]
    targets: Annotated[str, about("models in the order of trying, with commas", positional=True)]


class AliasNamed(Params, frozen=True):
    """An alias."""

    alias: Annotated[str, about("the alias", positional=True)]


class LogParams(Params, frozen=True):
    """How much of the log."""

    lines: Annotated[int, msgspec.Meta(ge=1, le=1000), about("how many of the last calls")] = 20


class AskParams(Params, frozen=True):
    """A prompt for one or several models."""

    prompt: Annotated[str, about("what to ask", positional=True)]
    models: Annotated[str, about("models, with commas")]
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=100_000), about("tokens of an answer")] = 512


class MadeKey(msgspec.Struct, frozen=True):
    """A key that was made, for OpenAI clients."""

    key: str
    api_key: str
    base_url: str


class KeyInfo(msgspec.Struct, frozen=True):
    """A key, and what is left of its limits; money in euro."""

    key: str
    created: str
    revoked: bool
    budget: float | None
    left: float | None
    period: str
    requests_per_minute: int | None
    tokens_per_minute: int | None
    models: tuple[str, ...]
    note: str


class Changed(msgspec.Struct, frozen=True):
    """What was changed."""

    message: str


class AliasInfo(msgspec.Struct, frozen=True):
    """An alias; `declared` in skerry.toml or made by a word."""

    alias: str
    targets: tuple[str, ...]
    declared: bool


class CallInfo(msgspec.Struct, frozen=True):
    """A call in the log."""

    time: str
    key: str
    asked: str
    provider: str
    country: str
    model: str
    status: int
    tokens: str
    euro: str
    seconds: float
    rule: str
    error: str
    prompt: str
    answer: str


class ProviderInfo(msgspec.Struct, frozen=True):
    """A provider that could be used; prices of how many models are known, and since when."""

    provider: str
    base_url: str
    country: str
    secret: str
    has_key: bool
    prices: int
    as_of: str
    sources: tuple[str, ...]
    note: str


class Compared(msgspec.Struct, frozen=True):
    """One model's answer to a prompt; `first` and `seconds` in seconds."""

    model: str
    answer: str
    provider: str
    country: str
    first: float | None
    tokens_per_second: float | None
    seconds: float
    input_tokens: int
    output_tokens: int
    euro: str
    error: str = ""


def euro(micro: int) -> str:
    """Return an amount of micro-euro for people."""
    return f"{micro / MICRO:.6f}"


def limits_of(params: KeyCreate) -> Limits:
    """Return the limits that parameters say."""
    try:
        shape = {
            "budget": None if params.budget is None else round(params.budget * MICRO),
            "period": params.period.value,
            "requests_per_minute": params.requests_per_minute,
            "tokens_per_minute": params.tokens_per_minute,
            "models": tuple(each.strip() for each in params.models.split(",") if each.strip()),
        }
        return msgspec.convert(shape, Limits)
    except (msgspec.ValidationError, OverflowError, ValueError) as error:
        raise INVALID(f"The limits cannot be: {error}.") from error


def moment(time: int) -> str:
    """Return a time in nanoseconds since 1970 in RFC 3339."""
    date = datetime.datetime.fromtimestamp(time // NANOSECONDS, datetime.UTC)
    return date.isoformat().replace("+00:00", "Z")


def key_info(state: KeyState, now: int) -> KeyInfo:
    """Return a key as lists show it."""
    key, limits = state.key, state.key.limits
    budget = state.quotas.get("budget")
    return KeyInfo(
        key=key.name,
        created=moment(key.created),
        revoked=key.revoked is not None,
        budget=None if limits.budget is None else limits.budget / MICRO,
        left=None if budget is None else budget.left(now) / MICRO,
        period=limits.period.value,
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        models=limits.models,
        note=key.note,
    )


def call_info(call: Call, names: dict[int, str]) -> CallInfo:
    """Return a call as `skerry models log` shows it."""
    tokens = f"{'~' if call.estimated else ''}{call.input_tokens}+{call.output_tokens}"
    return CallInfo(
        time=moment(call.time),
        key=names.get(call.key, str(call.key)),
        asked=call.asked,
        provider=call.provider,
        country=call.country,
        model=call.model,
        status=call.status,
        tokens=tokens,
        euro=euro(call.micro_eur),
        seconds=call.seconds,
        rule=call.rule,
        error=call.error,
        prompt=call.prompt,
        answer=call.answer,
    )


def provider_info(provider: Provider, profile: Profile | None, *, has_key: bool) -> ProviderInfo:
    """Return a provider as `skerry models providers` shows it."""
    return ProviderInfo(
        provider=provider.name,
        base_url=provider.base_url,
        country=provider.place.country if provider.place else "",
        secret=provider.secret,
        has_key=has_key,
        prices=len(provider.prices),
        as_of=profile.date if profile else "",
        sources=tuple(f"{each.url} ({each.date})" for each in profile.sources) if profile else (),
        note=profile.note if profile else "",
    )


MANIFEST = Manifest(
    name="models",
    summary="One OpenAI-compatible endpoint before local models and providers, by policy",
    stands_in_for="Workers AI, SambaNova, Scaleway Generative APIs, Mistral",
    engine_info=EngineInfo(name="aiohttp", version="3", module="aiohttp", extra="models"),
    engine="engine:ModelsEngine",
    subject="subject:ModelsSubject",
    replicates=YES,
    replica="replica:StateReplica",
    can={
        Verb.BRANCH: YES,
        Verb.BRANCH_AT: not_yet("past states of keys and limits are not kept"),
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
            name="openai",
            protocol="OpenAI API",
            summary="Chat completions, completions, embeddings, responses and models.",
            application="wire.application:make",
            claim="claim:claim",
            connection="claim:connection",
            clients=(
                Client("openai", "Python", 'OpenAI(base_url="{base_url}", api_key="{token}")'),
                Client(
                    "openai",
                    "JavaScript",
                    'new OpenAI({{baseURL: "{base_url}", apiKey: "{token}"}})',
                ),
                Client(
                    "curl",
                    "shell",
                    'curl -H "Authorization: Bearer {token}" {base_url}/models',
                ),
            ),
        ),
    ),
    binding="binding:bind",
    checks="checks:checks",
    config=ModelsConfig,
    units=(
        Unit("requests", "HTTP requests that were answered."),
        Unit("calls", "Calls to models, those answered from the cache included."),
        Unit("cache_hits", "Calls that were answered from the cache."),
        Unit("input_tokens", "Tokens that models read."),
        Unit("output_tokens", "Tokens that models wrote."),
        Unit("micro_eur", "What providers charge for it, in millionths of a euro."),
    ),
    words=(
        Word(
            "key-create", "Make a key with limits", KeyCreate, MadeKey, "models:admin", mutates=True
        ),
        Word(
            "key-limit", "Change a key's limits", KeyCreate, KeyInfo, "models:admin", mutates=True
        ),
        Word("key-revoke", "End a key", KeyNamed, Changed, "models:admin", mutates=True),
        Word("key-list", "List keys and what is left", Nothing, list[KeyInfo], "models:read"),
        Word("alias-set", "Name models, in order", AliasSet, Changed, "models:admin", mutates=True),
        Word("alias-delete", "Forget an alias", AliasNamed, Changed, "models:admin", mutates=True),
        Word("alias-list", "List aliases", Nothing, list[AliasInfo], "models:read"),
        Word("log", "Show the last calls", LogParams, list[CallInfo], "models:read"),
        Word("providers", "List providers", Nothing, list[ProviderInfo], "models:read"),
        Word(
            "ask", "Ask models, side by side", AskParams, list[Compared], "models:ask", mutates=True
        ),
    ),
    actions=("models:admin", "models:read", "models:ask"),
    leaves=("models:route",),
    package=__package__ or "",
)
