"""Makes click commands from commands of the node: parameters from the fields of their structs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click
import msgspec
from msgspec import inspect

from skerry.kernel.commands import Command, Judged
from skerry.kernel.errors import INVALID
from skerry.kernel.names import MAIN
from skerry.surfaces.cli.base import Argument, SkerryCommand
from skerry.surfaces.cli.call import Call, is_interactive
from skerry.surfaces.cli.grammar import Entry
from skerry.surfaces.cli.names import names
from skerry.surfaces.cli.words import WordCommand, only_resource

if TYPE_CHECKING:
    from skerry.kernel.service import Service

_ALTERNATIVE = "__option"
"""Ends the name of an option that says the same as an argument."""

_SHORT = {"follow": "-f", "lines": "-n"}


def derive(
    name: str, command: Command, entry: Entry, service: Service | None = None
) -> click.Command:
    """Return the click command that carries out a command of the node, or one of a service."""
    params: list[click.Parameter] = []
    for each, positional in _fields(command, entry):
        params.append(_parameter(each, positional))
        if positional and each.encode_name in entry.positional:
            params.append(_parameter(each, False, _ALTERNATIVE))
    if command.kind:
        params = [_resource(), *params, *_place()]
    if entry.confirm:
        params.append(click.Option(["--yes", "-y"], is_flag=True, help="do not ask"))
    made = WordCommand if command.kind else SkerryCommand
    return made(
        name,
        params=sorted(params, key=lambda each: each.param_type_name != "argument"),
        callback=functools.partial(_run, command, entry, service),
        help=_help(command, entry),
        short_help=entry.summary,
    )


def _help(command: Command, entry: Entry) -> str:
    summary = entry.summary or command.summary
    needs_none = command.local and not command.reaches
    where = (
        "It needs no node."
        if needs_none
        else ""
        if command.local
        else f"API: POST /v1/{command.name}"
    )
    return f"{summary.rstrip('.')}.\n\n\b\n{where}"


def _fields(command: Command, entry: Entry) -> list[tuple[inspect.Field, bool]]:
    """Return the fields of a command's parameters, and whether each is an argument."""
    info = inspect.type_info(command.params)
    assert isinstance(info, inspect.StructType)
    found = []
    for each in info.fields:
        extra = _extra(each)
        positional = extra.get("positional")
        if positional is None:
            positional = bool(command.kind) and each.required
        found.append((each, bool(positional) or each.encode_name in entry.positional))
    order = {name: number for number, name in enumerate(entry.positional)}
    return sorted(found, key=lambda pair: order.get(pair[0].encode_name, -1))


def _extra(found: inspect.Field) -> dict[str, Any]:
    return found.type.extra or {} if isinstance(found.type, inspect.Metadata) else {}


def _about(found: inspect.Field) -> str:
    schema = found.type.extra_json_schema if isinstance(found.type, inspect.Metadata) else None
    return str((schema or {}).get("description", ""))


def _inner(found: inspect.Type) -> inspect.Type:
    """Return a type without what is said about it, and without None as an option."""
    if isinstance(found, inspect.Metadata):
        return _inner(found.type)
    if isinstance(found, inspect.UnionType):
        rest = [each for each in found.types if not isinstance(each, inspect.NoneType)]
        return _inner(rest[0]) if len(rest) == 1 else found
    return found


def _parameter(found: inspect.Field, positional: bool, suffix: str = "") -> click.Parameter:
    name = found.encode_name
    inner = _inner(found.type)
    many = isinstance(inner, inspect.ListType | inspect.VarTupleType | inspect.SetType)
    kind = _click_type(_inner(inner.item_type) if many else inner)  # type: ignore[attr-defined]
    if _extra(found).get("file"):
        kind = _Content(binary=isinstance(inner, inspect.BytesType))
    if _extra(found).get("path"):
        kind = _Path()
    required = found.required and not _is_filled(found)
    about = _about(found)
    if positional:
        repeat = many or bool(_extra(found).get("repeat"))
        return Argument(
            [_identifier(name)],
            about=about,
            type=kind,
            required=required,
            nargs=-1 if repeat else 1,
            metavar=_metavar(name, required=required, repeat=repeat),
            shell_complete=_completion(name),
        )
    flag = f"--{name.replace('_', '-')}"
    if isinstance(inner, inspect.BoolType):
        on = found.default is True
        names = [f"{flag}/--no-{flag[2:]}" if on else flag, _identifier(name) + suffix]
        short = [_SHORT[name]] if name in _SHORT else []
        return click.Option([*short, *names], is_flag=True, default=None, help=about)
    short = [_SHORT[name]] if name in _SHORT else []
    return click.Option(
        [*short, flag, _identifier(name) + suffix],
        type=kind,
        required=required,
        multiple=many,
        help=_with_default(about, found),
        shell_complete=_completion(name),
    )


def _metavar(name: str, *, required: bool, repeat: bool) -> str:
    word = name.upper().replace("_", "-") + ("..." if repeat else "")
    return word if required else f"[{word}]"


def _with_default(about: str, found: inspect.Field) -> str:
    said = "default" in about
    if said or found.default in (msgspec.NODEFAULT, None, "", ()) or found.encode_name == "branch":
        return about
    return f"{about} (default {found.default})".strip()


def _identifier(name: str) -> str:
    """Return a name for click's own use that cannot clash with those of common options."""
    return f"value_{name}"


def _is_filled(found: inspect.Field) -> bool:
    """Tell whether a field is filled from the folder that the command line stands in."""
    return found.encode_name == "app" and found.required


def _click_type(found: inspect.Type) -> click.ParamType[Any]:
    if isinstance(found, inspect.IntType):
        return click.INT
    if isinstance(found, inspect.FloatType):
        return click.FLOAT
    if isinstance(found, inspect.BoolType):
        return click.BOOL
    if isinstance(found, inspect.LiteralType):
        return click.Choice([str(each) for each in found.values])
    if isinstance(found, inspect.EnumType):
        return click.Choice([str(each.value) for each in found.cls])
    if isinstance(found, inspect.BytesType):
        return _Bytes()
    return click.STRING if isinstance(found, inspect.StrType) else _Json()


class _Bytes(click.ParamType[str]):
    """Bytes: the text itself, or what a file holds when it is written `@file`."""

    name = "text or @file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the bytes as JSON carries them, in base64."""
        import base64  # noqa: PLC0415 (only where bytes are taken)
        from pathlib import Path  # noqa: PLC0415

        try:
            found = Path(value[1:]).read_bytes() if value.startswith("@") else value.encode()
        except OSError as error:
            self.fail(f"{value[1:]} cannot be read: {error.strerror}", param, ctx)
        return base64.b64encode(found).decode()


class _Content(click.ParamType[str]):
    """The content of a file, or of standard input for `-`: text, or bytes in base64.

    A parameter `<name>_name` of the same command is by default the path, for errors that tell it.
    """

    name = "file"

    def __init__(self, binary: bool) -> None:
        self._binary = binary

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the content as JSON carries it."""
        import base64  # noqa: PLC0415 (only where files are taken)
        import sys  # noqa: PLC0415
        from pathlib import Path  # noqa: PLC0415

        try:
            found = sys.stdin.buffer.read() if value == "-" else Path(value).read_bytes()
            if ctx is not None and param is not None and value != "-":
                ctx.default_map = {**(ctx.default_map or {}), f"{param.name}_name": value}
            return base64.b64encode(found).decode() if self._binary else found.decode()
        except OSError as error:
            self.fail(f"{value} cannot be read: {error.strerror}", param, ctx)
        except UnicodeDecodeError:
            self.fail(f"{value} is not text in UTF-8", param, ctx)


class _Path(click.ParamType[str]):
    """A path, made absolute: the node stands in another folder."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the absolute path."""
        from pathlib import Path  # noqa: PLC0415 (only where paths are taken)

        return str(Path(value).absolute()) if value else ""


class _Json(click.ParamType[Any]):
    """A value of any shape: JSON, or text if it is none."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value that JSON describes."""
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError:
            return value


def _resource() -> click.Parameter:
    return Argument(
        ["of_resource"],
        about="the resource of the kind; by default the only one",
        metavar="[RESOURCE]",
        shell_complete=_completion("resource"),
    )


def _place() -> list[click.Parameter]:
    return [
        click.Option(["--app", "of_app"], help="the app; by default the one of this folder"),
        click.Option(["--branch", "of_branch"], help="the branch; by default the one checked out"),
    ]


def _completion(name: str) -> Callable[..., Any] | None:
    what = {"name": "name", "resource": "resource", "app": "app", "branch": "branch"}.get(name)
    if what is None:
        return None

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        return names(context, what, incomplete)

    return complete


def _run(command: Command, entry: Entry, service: Service | None, /, **given: Any) -> None:
    call: Call = click.get_current_context().obj
    if entry.confirm and not given.pop("yes"):
        _confirm(entry, arguments(command, given, call))
    params = arguments(command, given, call)
    if command.local:
        assert service is not None
        made = msgspec.convert(params, command.params)
        run = service.load(command.local)
        found = run(made, call.client) if command.reaches else run(made)
        answer(call, found, msgspec.to_builtins(found), entry.empty)
        return
    if command.offline:
        assert service is not None
        with call.out.steps() as steps:
            made = msgspec.convert(params, command.params)
            found = service.load(command.offline)(made, call.home, steps)
        if found is not None:
            answer(call, found, msgspec.to_builtins(found), entry.empty)
            return
    perform(call, command, params, entry.empty)


def perform(call: Call, command: Command, params: Mapping[str, Any], empty: str = "") -> None:
    """Carry a command out and write what it answers."""
    out = call.out
    if command.streams:
        from skerry.surfaces.cli.render import show  # noqa: PLC0415 (not for help)

        for item in call.client.stream(command.name, dict(params)):
            if out.json:
                out.data(item, line=True)
            else:
                show(out, typed(item, command.result), empty)
        return
    with out.steps() as steps:
        found = call.client.call(command.name, dict(params), steps)
    answer(call, typed(found, command.result), found, empty)


def answer(call: Call, found: Any, shape: Any, empty: str = "") -> None:
    """Write a result, its plain shape for programs; end with its exit code if it is bad news."""
    from skerry.surfaces.cli.render import show  # noqa: PLC0415 (not for help)

    if call.out.json:
        call.out.data(shape)
    else:
        show(call.out, found, empty)
    if isinstance(found, Judged) and found.exit_code:
        click.get_current_context().exit(found.exit_code)


def typed(found: Any, wanted: Any) -> Any:
    """Return plain values as the result's type; as they are, if a newer node changed the shape."""
    try:
        return msgspec.convert(found, wanted)
    except msgspec.ValidationError:
        return found


def arguments(command: Command, given: Mapping[str, Any], call: Call) -> dict[str, Any]:
    """Return the parameters of a call: what was said, and what the folder says."""
    said = {
        key.removeprefix("value_").removesuffix(_ALTERNATIVE): list(found)
        if isinstance(found, tuple)
        else found
        for key, found in given.items()
        if key.startswith("value_") and found is not None and found != ()
    }
    if command.kind:
        app, branch = given["of_app"] or call.app(), given["of_branch"] or call.branch()
        name = given["of_resource"] or only_resource(call, command.kind, app, branch)
        found = {"name": name, "params": said, "app": app}
        return found | ({"branch": branch} if branch else {})
    info = {each.name: each for each in msgspec.structs.fields(command.params)}
    if "app" in info and info["app"].required and "app" not in said:
        said["app"] = call.app()
    if command.offline and "app" in info and "app" not in said and call.project is not None:
        said["app"] = call.project.app
    if "branch" in info and info["branch"].default == MAIN and "branch" not in said:
        branch = call.branch()
        said |= {"branch": branch} if branch else {}
    return said


def _confirm(entry: Entry, params: Mapping[str, Any]) -> None:
    """Ask before something is lost; raise INVALID where nobody can be asked."""
    question = entry.confirm.format_map(params)
    if not is_interactive():
        raise INVALID(
            f"This needs a yes: {question}",
            why="There is no terminal to ask at.",
            hint="Add --yes to the command.",
        )
    click.echo(question, err=True)
    if not click.confirm("Go on?", err=True):
        raise click.Abort
