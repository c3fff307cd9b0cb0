"""Results for people, derived from their types.

A list of structs is a table, a struct is its fields; `units` tells how numbers are written.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from skerry.kernel import commands
from skerry.kernel.clock import Clock
from skerry.surfaces.cli.output import Output
from skerry.surfaces.units import age, duration, heading, in_tree_order, moment, number, size

_NONE = "-"


def show(output: Output, result: Any, empty: str = "") -> None:
    """Write a result."""
    view = _VIEWS.get(type(result))
    if view is not None:
        output.result(view(output, result))
    elif isinstance(result, list | tuple) and not result:
        output.remark(empty or "Nothing.")
    elif _is_table(result):
        view = _ROWS.get(type(result[0]))
        output.result(view(output, result) if view else table(output, result))
    elif isinstance(result, msgspec.Struct):
        output.result(fields(output, result))
    else:
        output.result(value("", result, output.clock))


def table(output: Output, rows: Sequence[msgspec.Struct], leave_out: Sequence[str] = ()) -> str:
    """Return aligned columns, one a field; a column that is empty everywhere is left out."""
    names = [name for name in rows[0].__struct_fields__ if name not in leave_out]
    columns = {
        name: [value(name, getattr(row, name), output.clock) for row in rows] for name in names
    }
    columns = {name: cells for name, cells in columns.items() if any(c != _NONE for c in cells)}
    right = {name for name in columns if all(_is_number(getattr(row, name)) for row in rows)}
    return grid(output, columns, right)


def grid(output: Output, columns: dict[str, list[str]], right: set[str] | None = None) -> str:
    """Return columns of text side by side under their names."""
    lines: list[str] = []
    heads = {name: heading(name) for name in columns}
    widths = {
        name: max(width(text) for text in [heads[name], *cells]) for name, cells in columns.items()
    }
    rows = [
        heads,
        *(dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)),
    ]
    for place, row in enumerate(rows):
        cells = [
            pad(row[name], widths[name], to_right=name in (right or set())) for name in columns
        ]
        text = "  ".join(cells).rstrip()
        lines.append(output.styled(text, "dim") if place == 0 else text)
    return "\n".join(lines)


def fields(output: Output, struct: msgspec.Struct, leave_out: Sequence[str] = ()) -> str:
    """Return a struct's fields line by line; what holds more follows below."""
    plain: dict[str, str] = {}
    blocks: list[str] = []
    for name in struct.__struct_fields__:
        found = getattr(struct, name)
        if name in leave_out or found is None or found == "":
            continue
        if _is_table(found):
            blocks.append(f"\n{output.styled(name, 'bold')}\n{table(output, found)}")
        elif isinstance(found, dict) and found:
            blocks.append(f"\n{output.styled(name, 'bold')}\n{pairs(output, found)}")
        else:
            plain[name] = value(name, found, output.clock)
    return "\n".join([pairs(output, plain), *blocks])


def pairs(output: Output, found: dict[str, Any]) -> str:
    """Return names and values in two columns."""
    wide = max((width(heading(name)) for name in found), default=0)
    lines = []
    for name, each in found.items():
        label = pad(heading(name), wide)
        lines.append(f"{output.styled(label, 'dim')}  {value('', each, output.clock)}")
    return "\n".join(lines)


def value(name: str, found: Any, clock: Clock) -> str:
    """Return one value as text; the name of its field tells the unit."""
    if found is None or found in ("", (), []):
        return _NONE
    if isinstance(found, bool):
        return "yes" if found else "no"
    if isinstance(found, int | float):
        return number(name, found, clock.now())
    if isinstance(found, str):
        return safe(found)
    if isinstance(found, list | tuple | set | frozenset):
        return ", ".join(value("", each, clock) for each in found)
    return safe(msgspec.json.encode(found).decode())


def safe(text: str) -> str:
    """Return text without what could steer a terminal."""
    return "".join(c if c in "\n\t" or unicodedata.category(c)[0] != "C" else "�" for c in text)


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def pad(text: str, columns: int, *, to_right: bool = False) -> str:
    """Return text filled with spaces to a width."""
    space = " " * (columns - width(text))
    return space + text if to_right else text + space


def _is_table(found: Any) -> bool:
    return isinstance(found, list | tuple) and bool(found) and isinstance(found[0], msgspec.Struct)


def _is_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)


def _done(output: Output, done: commands.Done) -> str:
    if done.next:
        output.remark(f"next: {done.next}", "cyan")
    return f"{output.styled('✓', 'green')} {safe(done.message)}"


def _deployed(output: Output, found: commands.Deployed) -> str:
    where = f"{found.app} {found.branch}"
    text = f"{output.styled('✓', 'green')} {where} serves version {found.version}"
    added = f"\n  added: {', '.join(found.added)}" if found.added else ""
    return f"{text} ({duration(found.seconds)}){added}\n  {output.styled(found.url, 'cyan')}"


def _branch_created(output: Output, found: commands.BranchCreated) -> str:
    how = f"{duration(found.seconds)}, by {found.driver}"
    text = f"{output.styled('✓', 'green')} {found.name} is a copy of {found.source} ({how})"
    lines = pairs(output, {"url": found.url, **found.connections})
    output.remark(f"next: skerry branch checkout {found.name}", "cyan")
    return f"{text}\n{lines}"


def _connections(output: Output, found: commands.Connections) -> str:
    blocks = [f"{output.styled(found.resource, 'bold')}  {found.kind}"]
    for each in found.lines:
        head = f"{each.client} ({each.language}, {each.wire})"
        blocks.append(f"\n{output.styled(head, 'dim')}\n  {safe(each.line)}")
    if not found.lines:
        blocks.append(pairs(output, found.fields))
    return "\n".join(blocks)


def _status(output: Output, found: commands.NodeStatus) -> str:
    if found.awake:
        awake = f"\n{output.styled('awake', 'bold')}\n{table(output, found.awake)}"
    else:
        awake = (
            f"\n{output.styled('Everything sleeps: no process runs, nothing is charged.', 'dim')}"
        )
    return f"{fields(output, found, leave_out=('awake',))}\n{awake}"


def _record(output: Output, found: commands.LogRecord) -> str:
    time = output.styled(moment(found.time), "dim")
    source = output.styled(found.source, "cyan")
    level = "" if found.level in {"", "info"} else f"{found.level} "
    if level:
        level = output.styled(level, "red" if "err" in found.level else "yellow")
    return f"{time} {source} {level}{safe(found.text)}"


def _checks(output: Output, found: Sequence[commands.Check]) -> str:
    wide = max(width(each.name) for each in found)
    lines = []
    for each in found:
        sign = output.styled("✓", "green") if each.ok else output.styled("!", "yellow")
        lines.append(f"{sign} {pad(each.name, wide)}  {safe(each.detail)}")
        if each.hint and not each.ok:
            lines.append(f"  {' ' * wide}  {output.styled('hint:', 'cyan')} {safe(each.hint)}")
    return "\n".join(lines)


def _branches(output: Output, found: Sequence[commands.BranchInfo]) -> str:
    ordered = in_tree_order(found)
    columns = {
        "branch": [
            f"{'  ' * (depth - 1)}{'└ ' if depth else ''}{each.name}" for depth, each in ordered
        ],
        "state": ["awake" if each.awake else "asleep" for _, each in ordered],
        "version": [str(each.version) for _, each in ordered],
        "created": [age(each.created, output.clock.now()) + " ago" for _, each in ordered],
        "size": [_NONE if each.bytes is None else size(each.bytes) for _, each in ordered],
        "url": [each.url for _, each in ordered],
    }
    if all(text == _NONE for text in columns["size"]):
        del columns["size"]
    return grid(output, columns, {"version"})


_VIEWS: dict[type, Callable[[Output, Any], str]] = {
    commands.Done: _done,
    commands.Deployed: _deployed,
    commands.BranchCreated: _branch_created,
    commands.Connections: _connections,
    commands.NodeStatus: _status,
    commands.LogRecord: _record,
}

_ROWS: dict[type, Callable[[Output, Any], str]] = {
    commands.Check: _checks,
    commands.BranchInfo: _branches,
}
