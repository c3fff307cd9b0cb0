"""Renders the console's templates."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import msgspec

from skerry import __version__
from skerry.surfaces import units
from skerry.surfaces.console.visit import Visit
from skerry.surfaces.port import Node

_FOLDER = Path(__file__).parent / "templates"
_FIRST = (("/", "Apps"),)
_LAST = (("/node", "Node"), ("/kinds", "Kinds"), ("/docs", "Docs"))


class Templates:
    """The templates, with what they all know."""

    def __init__(self, node: Node) -> None:
        self._node = node
        pages = [page for service in node.services.values() for page in service.pages]
        self._menu = (*_FIRST, *((each.path, each.menu) for each in pages if each.menu), *_LAST)
        views = {
            name: jinja2.PackageLoader(service.package, "views")
            for name, service in node.services.items()
            if service.pages
        }
        self._environment = jinja2.Environment(
            loader=jinja2.ChoiceLoader(
                [jinja2.FileSystemLoader(_FOLDER), jinja2.PrefixLoader(views)]
            ),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "size": units.size,
            "duration": units.duration,
            "moment": units.moment,
            "heading": units.heading,
            "sentence": units.sentence,
            "age": lambda then: units.age(then, node.clock.now()),
            "cell": self._cell,
            "slug": lambda text: re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-"),
        }

    def _cell(self, found: Any, name: str) -> str:
        """Return a field's value as text; see `units.number`."""
        if found is None or found == "":
            return ""
        if isinstance(found, bool):
            return "yes" if found else "no"
        if isinstance(found, int | float):
            return units.number(name, found, self._node.clock.now())
        if isinstance(found, str):
            return found
        if isinstance(found, list | tuple):
            return ", ".join(self._cell(each, "") for each in found)
        return msgspec.json.encode(found).decode()

    def render(self, template: str, visit: Visit, **values: Any) -> str:
        """Render a whole page, or a fragment of one."""
        found = self._environment.get_template(template)
        path = visit.request.url.path
        return found.render(
            node_name=self._node.name,
            version=__version__,
            menu=[(url, name, _is_current(url, path)) for url, name in self._menu],
            session=visit.session,
            here=path,
            messages=visit.told() if not template.rpartition("/")[2].startswith("_") else [],
            **{"cli": [], **values},
        )


def _is_current(url: str, path: str) -> bool:
    if url == "/":
        return path == "/" or path.startswith("/apps")
    return path == url or path.startswith(f"{url}/")
