"""What forms of the console do: any command of the node that changes something, and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import HTMLResponse, RedirectResponse, Response

from skerry.kernel.commands import Command, Done
from skerry.kernel.errors import NOT_FOUND, SkerryError
from skerry.surfaces.api.calls import to_params
from skerry.surfaces.cli.grammar import WORDS, Entry
from skerry.surfaces.console import security
from skerry.surfaces.console.fields import from_form
from skerry.surfaces.console.templates import Templates
from skerry.surfaces.console.visit import Visit
from skerry.surfaces.units import as_grid, duration

_PREFIX = "param-"
_PLACE = ("name", "app", "branch")


class Actions:
    """Asks before something is lost, and carries out."""

    def __init__(self, templates: Templates) -> None:
        self._templates = templates

    async def confirm(self, visit: Visit) -> Response:
        """Ask whether a command is meant; its parameters are in the query."""
        command = _find(visit)
        form = dict(visit.request.query_params)
        params = from_form(command.params, form)
        word, entry = _in_words(command)
        body = self._templates.render(
            "confirm.html",
            visit,
            title=entry.summary,
            question=(entry.confirm or entry.summary).format_map({"name": "", "app": "", **params}),
            command=command,
            params=params,
            back=security.local_path(form.get("back", "/")),
            cli=[command_line(word, entry.positional, params)],
        )
        return HTMLResponse(body)

    async def perform(self, visit: Visit) -> Response:
        """Carry a command out and go back to where the form was; show what a word answers."""
        command = _find(visit)
        back = security.local_path(visit.form.get("back", "/"))
        if command.kind:
            place = {key: visit.form.get(key, "") for key in _PLACE}
            shape = {**place, "params": from_form(command.params, _inner(visit.form))}
        else:
            shape = from_form(command.params, visit.form)
        try:
            params = to_params(command, shape)
            found = await visit.node.perform(command, params, visit.principal, None)
        except SkerryError as error:
            parts = (error.what, error.why, error.hint)
            visit.tell(" ".join(part for part in parts if part), good=False)
            return RedirectResponse(back, status_code=303)
        if command.kind:
            return self._answer(visit, command, found, back)
        visit.tell(_said(found))
        return RedirectResponse(back, status_code=303)

    def _answer(self, visit: Visit, command: Command, found: Any, back: str) -> Response:
        columns, rows = _table(found)
        body = self._templates.render(
            "answer.html",
            visit,
            title=f"{command.kind} {command.word}",
            command=command,
            rows=rows,
            columns=columns,
            text=msgspec.json.format(msgspec.json.encode(found), indent=2).decode(),
            back=back,
        )
        return HTMLResponse(body)


def _find(visit: Visit) -> Command:
    name = visit.word("command")
    command = visit.node.commands.get(name)
    if command is None or command.streams:
        raise NOT_FOUND(f"There is no command {name[:80]}.")
    return command


def _in_words(command: Command) -> tuple[str, Entry]:
    """Return how the command line names a command, and what it asks before it."""
    if command.service:
        return command.name.replace(".", " "), Entry(command.summary, confirm=command.confirm)
    return next((word, each) for word, each in WORDS.items() if each.command == command.name)


def _inner(form: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of a word's own parameters, which have a prefix in its form."""
    return {
        key.removeprefix(_PREFIX): text for key, text in form.items() if key.startswith(_PREFIX)
    }


def _table(found: Any) -> tuple[list[str], list[list[Any]]]:
    """Return the columns and rows of a result, none where it is no table."""
    answer = as_grid(found)
    if answer is not None:
        return answer
    rows = found if isinstance(found, list | tuple) else [found]
    if not rows or not all(isinstance(each, msgspec.Struct) for each in rows):
        return [], []
    columns = list(rows[0].__struct_fields__)
    return columns, [[getattr(row, name) for name in columns] for row in rows]


def _said(found: Any) -> str:
    if isinstance(found, Done):
        return found.message
    name = getattr(found, "name", "") or getattr(found, "app", "")
    seconds = getattr(found, "seconds", None)
    took = f" in {duration(seconds)}" if seconds is not None else ""
    return f"{name} is ready{took}." if name else "Done."


def command_line(word: str, positional: Sequence[str], params: dict[str, Any]) -> str:
    """Return the same in words of the command line."""
    named = {*positional, "name"}
    words = [str(value) for key, value in params.items() if key in named]
    options = [f"--{key} {value}" for key, value in params.items() if key not in named]
    return " ".join(["skerry", word, *words, *options])
