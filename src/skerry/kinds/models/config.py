"""The settings of a models resource in `skerry.toml`.

[models.ai]
secrets = ["SCALEWAY_API_KEY"]            # keys of providers, by the names in their profiles

[models.ai.providers.lab]                 # any OpenAI-shaped endpoint
base_url = "https://llm.lab.example/v1"
country = "SE"
secret = "LAB_KEY"

[models.ai.local.small]                   # a model of this machine
gguf = "/srv/models/small.gguf"

[models.ai.aliases]
chat = ["scaleway/llama-3.3-70b-instruct", "small"]
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec


class Keep(enum.StrEnum):
    """What the log keeps of prompts and answers."""

    METADATA = "metadata"
    REDACTED = "redacted"
    FULL = "full"


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a million tokens cost, in the currency of the provider's profile.

    `cached` is for input tokens that the provider had in its cache; by default they cost as input.
    """

    input: float = 0.0
    output: float = 0.0
    cached: float | None = None


class ProviderConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider: a profile of that name, or with `base_url` any OpenAI-shaped endpoint.

    `country` is where prompts are processed (ISO 3166). `secret` names the secret that holds its
    key. `account` fills in a base URL that has a place for it. `prices` by model win over the
    profile's. `operator` is the name under which the node's policy knows whoever runs it.
    `concurrency` is how many calls may run there at once; one more goes to the next route.
    """

    base_url: str = ""
    country: str = ""
    secret: str = ""
    account: str = ""
    operator: str = ""
    currency: str = ""
    prices: dict[str, Price] = {}
    headers: dict[str, str] = {}
    concurrency: int = 2000


class LocalConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model of this machine: a GGUF file for llama.cpp, or a folder with an ONNX embedding model.

    Paths are absolute, or relative to the app's folder. `context` is in tokens, for each of the
    `parallel` calls that are answered at once. `embeddings`: the GGUF model makes nothing else.
    `program` is a `llama-server` to use instead of the one in the wheel.
    """

    gguf: str = ""
    onnx: str = ""
    context: int = 4096
    threads: int = 0
    parallel: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    embeddings: bool = False
    program: str = ""


class ModelsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a models resource.

    `cache` is how long equal questions get the same answer, e.g. "1h"; "0" is never. `log` is what
    is kept of texts. `usd` is what one US dollar costs in euro, for providers that bill in dollars.
    Seconds are those that a provider may take to connect, to begin its answer, and between two
    parts of it.
    """

    providers: dict[str, ProviderConfig] = {}
    local: dict[str, LocalConfig] = {}
    aliases: dict[str, list[str]] = {}
    cache: str = "0"
    log: Keep = Keep.METADATA
    log_rows: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 100_000
    usd: Annotated[float, msgspec.Meta(gt=0)] = 0.87
    retries: Annotated[int, msgspec.Meta(ge=0, le=10)] = 2
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1)] = 4096
    connect_seconds: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    first_seconds: Annotated[float, msgspec.Meta(gt=0)] = 120.0
    idle_seconds: Annotated[float, msgspec.Meta(gt=0)] = 120.0
