"""Words of models that need no app of one's own: an endpoint on this node, and comparing models."""

from __future__ import annotations

from typing import Annotated

import msgspec

from skerry.kernel.commands import Command, Nothing, Params, about
from skerry.kernel.names import MAIN
from skerry.kernel.service import Page, Service
from skerry.kinds.models.config import Keep
from skerry.kinds.models.drawing import draw_comparison
from skerry.kinds.models.manifest import Compared

OWN_APP = "models"


class Serve(Params, frozen=True):
    """Parameters of `models.serve`. Every call of it says all settings anew; keys are kept."""

    app: Annotated[str, about("the name of the app that holds the endpoint")] = OWN_APP
    gguf: Annotated[
        tuple[str, ...], about("a GGUF model of this machine: name=path, or a path")
    ] = ()
    onnx: Annotated[tuple[str, ...], about("a folder with an ONNX embedding model: name=path")] = ()
    alias: Annotated[tuple[str, ...], about("models tried in order: name=first,second")] = ()
    jurisdiction: Annotated[
        tuple[str, ...], about("where prompts may go: EU, or a country; by default nowhere else")
    ] = ()
    exclude_reach: Annotated[
        tuple[str, ...], about("countries whose laws must not reach the provider")
    ] = ()
    cache: Annotated[str, about("how long equal questions get the same answer, such as 1h")] = "0"
    log: Annotated[Keep, about("what is kept of texts: metadata, redacted or full")] = Keep.METADATA
    context: Annotated[int, about("tokens that a GGUF model remembers")] = 4096


class Endpoint(msgspec.Struct, frozen=True):
    """An endpoint for OpenAI clients."""

    app: str
    base_url: str
    api_key: str
    python: str
    policy: str
    next: str


class Compare(Params, frozen=True):
    """Parameters of `models.compare`."""

    prompt: Annotated[str, about("what to ask", positional=True)]
    models: Annotated[str, about("models, with commas")]
    app: Annotated[str | None, about("the app; by default the only one with models")] = None
    name: Annotated[str | None, about("its models resource; by default the only one")] = None
    branch: Annotated[str, about("the branch")] = MAIN
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=100_000), about("tokens of an answer")] = 512


class Comparison(msgspec.Struct, frozen=True):
    """Answers side by side, in the order in which the models were named."""

    prompt: str
    rows: tuple[Compared, ...]

    @property
    def exit_code(self) -> int:
        """1 if no model answered."""
        return 0 if any(not row.error for row in self.rows) else 1

    def draw(self, columns: int) -> str:
        """Draw the answers in columns, with what they took and cost below."""
        return draw_comparison(self.rows, columns)


SERVICE = Service(
    name="models",
    summary="An OpenAI-compatible endpoint, and models side by side",
    commands=(
        Command(
            "models.serve", "Serve an OpenAI-compatible endpoint", Serve, Endpoint, mutates=True
        ),
        Command("models.compare", "Ask several models at once", Compare, Comparison, mutates=True),
        Command(
            "models.comparisons",
            "Show the last comparisons since the node started",
            Nothing,
            list[Comparison],
        ),
    ),
    handler="handler:Handler",
    pages=(Page("/models", "Models", view="page:view", template="compare.html", menu="Models"),),
)
