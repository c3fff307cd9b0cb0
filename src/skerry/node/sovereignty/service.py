"""The sovereignty report on every surface."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from skerry.kernel.commands import Command, Nothing, Params, about
from skerry.kernel.service import Page, Service
from skerry.node.sovereignty.drawing import draw_report
from skerry.node.sovereignty.shape import Report


class Asked(Params, frozen=True):
    """Parameters of `sovereignty.report`."""

    provider: Annotated[str | None, about("of a provider")] = None
    app: Annotated[str | None, about("of every place where an app and what it sent lie")] = None
    at: Annotated[str | None, about("of another node")] = None
    format: Annotated[Literal["text", "html"], about("html writes a page")] = "text"
    whole: Annotated[bool, about("list every criterion")] = False


class Shown(msgspec.Struct, frozen=True):
    """A report, and how it is to be shown."""

    report: Report
    whole: bool = False
    html: str = ""

    def draw(self, columns: int) -> str:
        """Return it for people."""
        return self.html or draw_report(self.report, whole=self.whole)


class Question(msgspec.Struct, frozen=True):
    """A criterion and its answers, for whoever states facts."""

    id: str
    title: str
    answers: str
    shown_by: str


SERVICE = Service(
    name="sovereignty",
    summary="Assess a node, a provider or a placement by the EU's framework",
    commands=(
        Command("sovereignty.report", "Show claimed and evidenced levels", Asked, Shown),
        Command("sovereignty.criteria", "List the criteria", Nothing, list[Question]),
    ),
    handler="handler:Handler",
    pages=(Page("/sovereignty", "Sovereignty", "page:view", "sovereignty.html"),),
)
