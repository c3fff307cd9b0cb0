"""Results for people, derived from their types.

A list of structs is a table, a struct is its fields; `units` tells how numbers are written.
"""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from skerry.kernel import commands
from skerry.kernel.clock import Clock
from skerry.surfaces.cli.output import Output
from skerry.surfaces.units import (
    age,
    as_grid,
    duration,
    heading,
    in_tree_order,
    moment,
    number,
    safe,
    size,
)

_NONE = "-"


def show(output: Output, result: Any, empty: str = "") -> None:
    """Write a result."""
    view = _VIEWS.get(type(result))
    if view is not None:
        output.result(view(output, result))
    elif isinstance(result, commands.Drawn):
        output.result(result.draw(columns()))
    elif isinstance(result, list | tuple) and not result:
        output.remark(empty or "Nothing.")
    elif _is_table(result):
        view = _ROWS.get(type(result[0]))
        output.result(view(output, result) if view else table(output, result))
    elif (answer := as_grid(result)) is not None:
        _show_answer(output, result, *answer)
    elif isinstance(result, msgspec.Struct):
        output.result(fields(output, result))
    else:
        output.result(value("", result, output.clock))


def columns() -> int:
    """Return how wide the terminal is; 80 where there is none."""
    return shutil.get_terminal_size((80, 24)).columns


class Column(NamedTuple):
    """A column of a table."""

    head: str
    cells: list[str]
    to_right: bool = False


def _show_answer(output: Output, result: Any, names: list[str], rows: list[list[Any]]) -> None:
    """Write columns and rows as a table, and what else a result says as a remark."""
    columns = []
    for place, name in enumerate(names):
        found = [row[place] for row in rows]
        cells = ["NULL" if each is None else value("", each, output.clock) for each in found]
        columns.append(Column(safe(name), cells, all(map(_is_number, found))))
    if rows and columns:
        output.result(grid(output, columns))
    rest = {name: getattr(result, name) for name in result.__struct_fields__}
    said = [
        f"{heading(name)} {value(name, found, output.clock)}"
        for name, found in rest.items()
        if name not in {"columns", "rows"} and found not in (None, "", False)
    ]
    count = f"{len(rows)} row{'' if len(rows) == 1 else 's'}"
    output.remark(", ".join([count, *said]))


def table(output: Output, rows: Sequence[msgspec.Struct]) -> str:
    """Return aligned columns, one a field; a column that is empty everywhere is left out."""
    columns = []
    for name in rows[0].__struct_fields__:
        found = [getattr(row, name) for row in rows]
        cells = [value(name, each, output.clock) for each in found]
        if any(cell != _NONE for cell in cells):
            columns.append(Column(heading(name), cells, all(map(_is_number, found))))
    return grid(output, columns)


def grid(output: Output, columns: Sequence[Column]) -> str:
    """Return columns of text side by side under their heads."""
    padded = []
    for column in columns:
        texts = [column.head, *column.cells]
        wide = max(map(width, texts))
        padded.append([pad(text, wide, to_right=column.to_right) for text in texts])
    head, *rows = ["  ".join(row).rstrip() for row in zip(*padded, strict=True)]
    return "\n".join([output.styled(head, "dim"), *rows])


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
    if found is None or found in ("", (), [], {}):
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
    already = " already" if found.unchanged else ""
    text = f"{output.styled('✓', 'green')} {where} serves version {found.version}{already}"
    added = f"\n  added: {', '.join(found.added)}" if found.added else ""
    for each in found.remarks:
        output.remark(f"! {safe(each)}", "yellow")
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
    if found.leader:
        output.remark(f"a copy, only to be read: {safe(found.leader)} writes it")
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
    depths = [depth for depth, _ in ordered]
    names = [f"{_twigs(depths, number)}{each.name}" for number, (_, each) in enumerate(ordered)]
    branches = [each for _, each in ordered]
    now = output.clock.now()
    columns = [
        Column("branch", names),
        Column("state", ["awake" if each.awake else "asleep" for each in branches]),
        Column("version", [str(each.version) for each in branches], to_right=True),
        Column("created", [f"{age(each.created, now)} ago" for each in branches]),
        Column("url", [each.url for each in branches]),
    ]
    if any(each.bytes is not None for each in branches):
        sizes = [_NONE if each.bytes is None else size(each.bytes) for each in branches]
        columns.insert(-1, Column("size", sizes, to_right=True))
    return grid(output, columns)


def _twigs(depths: Sequence[int], number: int) -> str:
    """Return what a tree draws before one of its names, given the depths of all in order."""

    def goes_on(depth: int) -> bool:
        """Tell whether a later branch hangs on the same parent."""
        after = next((each for each in depths[number + 1 :] if each <= depth), 0)
        return after == depth

    depth = depths[number]
    if not depth:
        return ""
    above = "".join("│ " if goes_on(each) else "  " for each in range(1, depth))
    return above + ("├ " if goes_on(depth) else "└ ")


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
