"""What holds for one call of the command line: its options, the folder it stands in, the node."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skerry.kernel.errors import CONFIG_INVALID, INVALID, SkerryError
from skerry.surfaces.cli.options import Options

if TYPE_CHECKING:
    from skerry.surfaces.cli.client import Client
    from skerry.surfaces.cli.output import Output

_FILE_NAME = "skerry.toml"
_STATE = ".skerry"


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with a `skerry.toml`."""

    folder: Path
    app: str
    ignore: tuple[str, ...] = ()

    @property
    def branch(self) -> str | None:
        """The branch that is checked out here, if one is."""
        try:
            text = (self.folder / _STATE / "branch").read_text().strip()
        except FileNotFoundError:
            return None
        return text or None

    def check_out(self, branch: str) -> None:
        """Remember a branch for the commands that follow in this folder."""
        state = self.folder / _STATE
        state.mkdir(exist_ok=True)
        (state / "branch").write_text(f"{branch}\n")


@dataclass
class Call:
    """One call of the command line."""

    options: Options = field(default_factory=Options)

    @cached_property
    def out(self) -> Output:
        """Where results, progress and remarks go."""
        from skerry.surfaces.cli.output import Output  # noqa: PLC0415 (only what is needed)

        return Output.for_process(self.options)

    @cached_property
    def client(self) -> Client:
        """The node that is spoken to: named by an option, by the environment, or this machine's."""
        from skerry.surfaces.cli import client  # noqa: PLC0415 (only what is needed)

        url = self.options.node
        if url is None and self.options.home is None:
            url = os.environ.get("SKERRY_NODE")
        return client.remote(url) if url else client.local(self.home)

    @cached_property
    def home(self) -> Path:
        """The home of this machine's node."""
        from skerry.node.home import default_root  # noqa: PLC0415 (only what is needed)

        return Path(self.options.home) if self.options.home else default_root()

    @cached_property
    def project(self) -> Project | None:
        """The app of the folder that we are in, or of the nearest folder above."""
        here = Path.cwd()
        return next((find for each in (here, *here.parents) if (find := read_project(each))), None)

    def app(self) -> str:
        """Return the app that is meant when none is named; raise INVALID if none is."""
        named = os.environ.get("SKERRY_APP")
        if named:
            return named
        if self.project is None:
            raise INVALID(
                "It is not clear which app is meant.",
                why=f"There is no {_FILE_NAME} in this folder or above it, and no --app.",
                hint="skerry app list",
            )
        return self.project.app

    def branch(self) -> str | None:
        """Return the branch that is meant when none is named, or None for the default."""
        named = os.environ.get("SKERRY_BRANCH")
        return named or (self.project.branch if self.project else None)


def read_project(folder: Path) -> Project | None:
    """Read as much of a folder's `skerry.toml` as the command line needs; the node reads it all."""
    path = folder / _FILE_NAME
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CONFIG_INVALID(f"{path} cannot be read.", why=f"{error}.") from error
    app = _app_table(path, text)
    name, ignore = app.get("name"), app.get("ignore", [])
    if not isinstance(name, str) or not name:
        raise _nameless(path, text, app)
    if not isinstance(ignore, list) or not all(isinstance(each, str) for each in ignore):
        raise _mistake(text, "ignore", "a list of strings", f"It is {ignore!r}.")
    return Project(folder, name, tuple(ignore))


def _nameless(path: Path, text: str, app: dict[str, Any]) -> SkerryError:
    """Tell what stands where the app's name should, or that nothing does."""
    if "name" in app:
        return _mistake(text, "name", "a name for an app", f"It is {app['name']!r}.")
    from skerry.kernel.names import nearest  # noqa: PLC0415 (only when something is wrong)

    meant = next((each for each in app if nearest(each, ["name"])), None)
    if meant:
        return _mistake(text, meant, "a known key", "Did you mean name?")
    return CONFIG_INVALID(
        f"{path} does not name its app.",
        why='It needs a table [app] with name = "…".',
        hint="skerry docs app",
    )


def _mistake(text: str, key: str, expected: str, why: str) -> SkerryError:
    """Tell of a mistake in the table of the app as the node tells of one in another."""
    from skerry.kernel.app import find_line  # noqa: PLC0415 (only when something is wrong)

    line = find_line(text.splitlines(), ("app", key))
    return CONFIG_INVALID(
        f"{_FILE_NAME} line {line}: app.{key}: expected {expected}.",
        why=why,
        hint="skerry docs app",
    )


def _app_table(path: Path, text: str) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 (only what is needed)

    try:
        table = tomllib.loads(text).get("app", {})
    except tomllib.TOMLDecodeError as error:
        raise CONFIG_INVALID(f"{path} is not TOML.", why=f"{error}.") from error
    if not isinstance(table, dict):
        raise CONFIG_INVALID(f"{path}: app: expected a table, which starts with [app].")
    return table


def is_interactive() -> bool:
    """Tell whether somebody sits there who can answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()
