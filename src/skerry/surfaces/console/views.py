"""The console's pages: what each asks the node, and the same in words of the command line."""

from __future__ import annotations

from typing import Any

from starlette.responses import HTMLResponse, Response

from skerry.kernel.commands import BranchInfo
from skerry.kernel.errors import NOT_FOUND, SkerryError
from skerry.kernel.names import MAIN, did_you_mean
from skerry.surfaces.console.drawing import draw
from skerry.surfaces.console.fields import form_fields
from skerry.surfaces.console.templates import Templates
from skerry.surfaces.console.visit import Visit

_LOG_LINES = 200


class Views:
    """Pages that change nothing."""

    def __init__(self, templates: Templates) -> None:
        self._templates = templates

    def _page(self, template: str, visit: Visit, **values: Any) -> Response:
        return HTMLResponse(self._templates.render(template, visit, **values))

    async def apps(self, visit: Visit) -> Response:
        """Show every app."""
        return self._page(
            "apps.html", visit, title="Apps", cli=["skerry app list"], **await self.of_apps(visit)
        )

    async def of_apps(self, visit: Visit) -> dict[str, Any]:
        """Return what the list of apps shows."""
        return {"apps": await visit.ask("app.list"), "status": await visit.ask("node.status")}

    async def app(self, visit: Visit) -> Response:
        """Show an app's tree of branches, and the resources of one."""
        app, branch = visit.word("app"), visit.word("branch", MAIN)
        values = await self.of_app(visit)
        cli = [f"skerry branch list {app}"]
        cli += [f"skerry resource list --app {app} --branch {branch}"]
        cli += [f"skerry branch create NAME --app {app} --source {branch}"]
        return self._page("app.html", visit, title=app, cli=cli, tab="environment", **values)

    async def of_app(self, visit: Visit) -> dict[str, Any]:
        """Return what the page of an app shows."""
        app, name = visit.word("app"), visit.word("branch", MAIN)
        branches: list[BranchInfo] = await visit.ask("branch.list", app=app)
        chosen = next((each for each in branches if each.name == name), None)
        if chosen is None:
            known = [each.name for each in branches]
            raise NOT_FOUND(f"There is no branch {name} in {app}.", why=did_you_mean(name, known))
        resources = await visit.ask("resource.list", app=app, branch=name)
        return {
            "app": app,
            "branch": chosen,
            "branches": branches,
            "drawing": draw(branches),
            "resources": [(each, await self._first_line(visit, each.name)) for each in resources],
        }

    async def _first_line(self, visit: Visit, name: str) -> str:
        """Return one line that connects to a resource, or nothing where it has none now."""
        place = {"app": visit.word("app"), "branch": visit.word("branch", MAIN)}
        try:
            found = await visit.ask("resource.connect", name=name, **place)
        except SkerryError:
            return ""
        return found.lines[0].line if found.lines else ""

    async def resource(self, visit: Visit) -> Response:
        """Show how to reach a resource, and what its kind can do with it."""
        app, branch, name = visit.word("app"), visit.word("branch"), visit.word("name")
        found = await visit.ask("resource.connect", name=name, app=app, branch=branch)
        manifest = visit.node.manifests[found.kind]
        place = f"{name} --app {app} --branch {branch}"
        words = [
            (word, form_fields(word.params), f"skerry {found.kind} {word.name} {place}")
            for word in manifest.words
        ]
        return self._page(
            "resource.html",
            visit,
            title=name,
            app=app,
            branch=branch,
            connections=found,
            manifest=manifest,
            words=words,
            cli=[f"skerry connect {place}", f"skerry export {place}"],
        )

    async def logs(self, visit: Visit) -> Response:
        """Show a branch's log, and what follows."""
        app, branch = visit.word("app"), visit.word("branch")
        source = visit.request.query_params.get("source") or None
        params = {"app": app, "branch": branch, "source": source, "lines": _LOG_LINES}
        resources = await visit.ask("resource.list", app=app, branch=branch)
        option = f" {source}" if source else ""
        return self._page(
            "logs.html",
            visit,
            title=f"Logs of {app} {branch}",
            app=app,
            branch=branch,
            source=source or "",
            sources=[*(each.name for each in resources), "engines"],
            params=params,
            tab="logs",
            cli=[f"skerry logs{option} --follow --app {app} --branch {branch}"],
        )

    async def usage(self, visit: Visit) -> Response:
        """Show what an app used."""
        app = visit.word("app")
        branch = visit.request.query_params.get("branch", MAIN)
        await visit.ask("branch.list", app=app)
        found = await visit.ask("node.meter", app=app)
        cli = [f"skerry meter --app {app}"]
        values = {"app": app, "branch": branch, "usage": found, "tab": "usage", "cli": cli}
        return self._page("usage.html", visit, title=f"Usage of {app}", **values)

    async def node(self, visit: Visit) -> Response:
        """Show what is awake, what the machine offers, and what was used."""
        values = await self.of_node(visit)
        checks = await visit.ask("node.doctor")
        usage = await visit.ask("node.meter")
        cli = ["skerry status", "skerry doctor", "skerry meter"]
        return self._page(
            "node.html", visit, title="Node", checks=checks, usage=usage, cli=cli, **values
        )

    async def of_node(self, visit: Visit) -> dict[str, Any]:
        """Return what is awake."""
        return {"status": await visit.ask("node.status")}

    async def kinds(self, visit: Visit) -> Response:
        """Show what kinds of resources there are."""
        found = list(visit.node.manifests.values())
        return self._page("kinds.html", visit, title="Kinds", kinds=found, cli=["skerry describe"])
