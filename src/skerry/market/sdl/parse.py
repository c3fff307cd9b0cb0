"""Read an SDL file: its form, its meaning, and what follows from both."""

from __future__ import annotations

from skerry.kernel.errors import INVALID
from skerry.market.sdl import meaning, units
from skerry.market.sdl.build import build, manifest_hash
from skerry.market.sdl.model import Sdl
from skerry.market.sdl.schema import FILE
from skerry.market.sdl.shape import Mistake, Mistakes
from skerry.market.sdl.tree import Node, read


def parse(text: str, name: str = "deploy.yaml") -> Sdl:
    """Return what a file asks for; raise INVALID with every mistake, its line and its column."""
    tree = read(text, name)
    mistakes = find_mistakes(tree)
    if mistakes:
        first, *others = sorted(mistakes, key=lambda each: (each.line, each.column))
        raise INVALID(
            first.show(name),
            why="\n".join(each.show(name) for each in others),
            hint=f"skerry market deploy {name} --dry-run",
        )
    plain = tree.plain()
    groups, manifest = build(plain)
    window = (plain.get("reclamation") or {}).get("min_window")
    return Sdl(
        version=plain["version"],
        groups=groups,
        manifest=manifest,
        manifest_hash=manifest_hash(manifest),
        reclamation_seconds=units.seconds(window) if window else 0,
    )


def find_mistakes(tree: Node) -> list[Mistake]:
    """Return what is wrong; meaning is looked at only where the form is right."""
    mistakes = Mistakes()
    FILE(tree, "", mistakes)
    if not mistakes.found:
        meaning.check(tree, mistakes)
    return mistakes.found
