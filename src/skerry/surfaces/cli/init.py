"""`skerry init`: writes a new app from the template."""

from __future__ import annotations

from pathlib import Path
from string import Template

import click

from skerry.kernel.errors import ALREADY_EXISTS, INVALID
from skerry.kernel.names import check_name, is_name
from skerry.surfaces.cli.base import SkerryCommand
from skerry.surfaces.cli.call import Call

_TEMPLATE = Path(__file__).parent / "template"
_SUFFIX = ".template"


@click.command(cls=SkerryCommand)
@click.argument("name", required=False)
@click.pass_obj
def init(call: Call, name: str | None) -> None:
    """Write a new app: a function, a KV store, a SQLite database, and a test.

    With NAME it goes into a new folder of that name, else into this folder.
    """
    folder = Path(name) if name else Path.cwd()
    app = Path(name).name if name else folder.name
    if not name and not is_name(app):
        raise INVALID(f"This folder's name {app!r} cannot name an app.", hint="skerry init myapp")
    check_name(app, "an app")
    written = write(folder, app)
    if call.out.json:
        call.out.data({"app": app, "folder": str(folder), "files": written})
        return
    call.out.result(
        "\n".join(f"{call.out.styled('✓', 'green')} {folder / each}" for each in written)
    )
    call.out.remark(f"next: {f'cd {folder} && ' if name else ''}skerry deploy", "cyan")


def write(folder: Path, app: str) -> list[str]:
    """Write the template's files; raise ALREADY_EXISTS and write none if one is there."""
    made = {
        path.relative_to(_TEMPLATE).as_posix().removesuffix(_SUFFIX): path.read_text()
        for path in sorted(_TEMPLATE.rglob(f"*{_SUFFIX}"))
    }
    for name in made:
        if (folder / name).exists():
            raise ALREADY_EXISTS(f"{folder / name} exists already.", hint="skerry init otherapp")
    for name, text in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(Template(text).substitute(app=app))
    return list(made)
