"""The command line against the real API over a real unix socket."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from tests.surfaces.conftest import Served

from skerry import __version__
from skerry.kernel.commands import commands
from skerry.kernel.errors import SkerryError
from skerry.node.home import Home
from skerry.surfaces import installed
from skerry.surfaces.cli import up
from skerry.surfaces.cli.call import Call
from skerry.surfaces.cli.describe import whole_tree
from skerry.surfaces.cli.grammar import GROUPS, OF_SERVICES, PANELS, WORDS
from skerry.surfaces.cli.options import Options
from skerry.surfaces.cli.tree import root

Run = Callable[..., tuple[int, str, str]]
SYSTEM = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
APP = '[app]\nname = "newsroom"\nignore = ["*.log", "/secret.txt", "drafts/"]\n'


def every_command(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    context = click.Context(group, info_name="skerry")
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            found += every_command(command, (*path, name))
        else:
            found.append((*path, name))
    return found


# ---- what every command has -------------------------------------------------------------------


def test_every_command_has_json_and_help(run: Run) -> None:
    found = every_command(root())
    assert ("branch", "create") in found
    for path in found:
        code, out, _ = run(*path, "--help")
        assert code == 0
        assert "--json" in out, path


def test_every_command_of_the_node_is_a_word() -> None:
    source = Path(__file__).parents[2] / "src" / "skerry" / "surfaces" / "cli"
    text = "".join(path.read_text() for path in source.glob("*.py"))
    missing = [name for name in commands([]) if f'"{name}"' not in text]
    assert not missing


def test_the_grammar_is_whole() -> None:
    panels = [name for names in PANELS.values() for name in names]
    words = {word.partition(" ")[0] for word in WORDS}
    assert sorted(panels) == sorted(words | set(OF_SERVICES))
    assert set(GROUPS) <= words
    assert all(len(entry.summary) <= 60 for entry in WORDS.values())


def test_help_fits_on_a_screen(run: Run) -> None:
    _, out, _ = run("--help")
    assert len(out.splitlines()) <= 61
    assert all(len(line) <= 80 for line in out.splitlines())


def test_help_knows_every_word_of_a_service() -> None:
    declared = {words.split()[0] for each in installed.services() for words in each.words}
    assert declared == set(OF_SERVICES)


def test_describe_is_what_the_docs_check_reads(run: Run) -> None:
    code, out, _ = run("describe", "--json")
    tree = json.loads(out)
    assert code == 0
    assert "--follow" in tree["commands"]["logs"]["options"]
    assert "-f" in tree["commands"]["logs"]["options"]
    assert "create" in tree["commands"]["branch"]["commands"]
    assert tree == json.loads(json.dumps(whole_tree()))


# ---- results ----------------------------------------------------------------------------------


def test_status_for_people(run: Run, served: Served) -> None:
    code, out, err = run("status")
    assert code == 0, err
    assert "http://127.0.0.1:7878" in out
    assert "48.0 MiB" in out
    assert "1.2 s" in out
    assert "\x1b" not in out + err


def test_status_for_programs(run: Run, served: Served) -> None:
    code, out, err = run("--json", "status")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["awake"][0]["pid"] == 4711
    assert json.loads(run("status", "--json")[1]) == found


def test_branches_are_shown_as_a_tree(run: Run, served: Served) -> None:
    _, out, _ = run("branch", "list", "newsroom")
    names = [line[:12].rstrip() for line in out.splitlines()[1:]]
    assert names == ["main", "├ pr-42", "│ └ pr-42-fi", "└ dev-ada"]


def test_an_empty_list_tells_what_to_run(run: Run, served: Served) -> None:
    served.node.apps.clear()
    code, out, err = run("app", "list")
    assert (code, out) == (0, "")
    assert "skerry init" in err
    assert run("app", "list", "--json")[1] == "[]\n"


def test_progress_is_on_stderr_and_can_be_silenced(run: Run, served: Served) -> None:
    _, out, err = run("app", "list")
    assert "half of it" in err
    assert "half of it" not in out
    assert run("app", "list", "--quiet")[2] == ""


def test_logs_are_lines(run: Run, served: Served) -> None:
    _, out, _ = run("logs", "--app", "newsroom", "-n", "3")
    assert len(out.splitlines()) == 3
    assert "web GET /stories/0 200" in out
    _, out, _ = run("logs", "web", "--app", "newsroom", "--json")
    assert [json.loads(line)["source"] for line in out.splitlines()] == ["web"] * 3
    assert served.node.calls[-1][1].source == "web"


def test_a_word_of_an_installed_kind(run: Run, served: Served) -> None:
    tree = whole_tree()
    kinds = [name for name, kind in tree["kinds"].items() if kind["words"]]
    assert kinds, "no installed kind has a word"
    name = kinds[0]
    word = next(iter(tree["kinds"][name]["words"]))
    code, out, _ = run(name, word, "--help")
    assert code == 0
    assert "RESOURCE" in out
    assert f"/v1/{name}.{word}" in out


# ---- errors -----------------------------------------------------------------------------------


def test_an_error_is_four_lines(run: Run, served: Served) -> None:
    code, out, err = run("branch", "list", "newsrom", "--quiet")
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "error[NOT_FOUND]: There is no app newsrom.",
        "  Did you mean newsroom?",
        "hint: skerry app list",
        "docs: skerry docs errors#not_found",
    ]


def test_an_error_for_programs(run: Run, served: Served) -> None:
    code, out, err = run("branch", "list", "newsrom", "--json")
    assert (code, out) == (1, "")
    assert json.loads(err)["error"]["code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["statsu"], 2, "Did you mean status?"),
        (["branch", "crate", "x"], 2, "Did you mean create?"),
        (["status", "--jsn"], 2, "Did you mean --json?"),
        (["branch", "create", "x", "--from", "main"], 2, "Known are: --app"),
        (["branch", "create"], 2, "NAME"),
        (["logs", "--lines", "x", "--app", "a"], 2, "not a valid integer"),
        (["branch", "delete", "main", "--yes", "--app", "newsroom"], 4, "DENIED"),
        (["branch", "delete", "gone", "--yes", "--app", "newsroom"], 1, "NOT_FOUND"),
        (["branch", "delete", "pr-42", "--app", "newsroom"], 2, "--yes"),
        (["branch", "list"], 2, "--app"),
        (["secret", "delete", "X", "--app", "newsroom"], 0, ""),
    ],
)
def test_exit_codes(run: Run, served: Served, words: list[str], code: int, text: str) -> None:
    found, out, err = run(*words)
    assert found == code, err
    assert text in err + out


def test_without_a_node(run: Run) -> None:
    code, _, err = run("status")
    assert code == 1
    assert "error[NODE_UNREACHABLE]" in err
    assert "hint: skerry up" in err


def test_a_wrong_token(run: Run, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKERRY_TOKEN", "skn_wrong")
    code, _, err = run("status")
    assert code == 4
    assert "error[UNAUTHENTICATED]" in err


def test_a_remote_node_wants_a_token(run: Run) -> None:
    code, _, err = run("status", "--node", "http://127.0.0.1:1")
    assert code == 4
    assert "SKERRY_TOKEN" in err
    assert run("status", "--node", "ftp://x")[0] == 2


def test_colour_follows_the_environment(
    run: Run, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b" in run("doctor", "--color")[1]
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    assert "\x1b" in run("doctor")[1]
    assert "\x1b" not in run("doctor", "--no-color")[1]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run("doctor")[1]


@pytest.mark.parametrize("words", [[], ["branch"]])
def test_a_group_alone_shows_its_help_and_no_error(run: Run, words: list[str]) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"Usage: {' '.join(['skerry', *words])} ")


def test_a_start_speaks_of_its_own_node_alone(
    served: Served, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that was there before is not said to have come up, and gets no example."""
    call = Call(Options(home=str(home.root)))
    home.pid_file.write_text("1")
    monkeypatch.setattr(up, "_START_SECONDS", 0.2)
    with pytest.raises(SkerryError, match="did not answer"):
        up.announce(call, None, lambda: up._runs(home.root, os.getpid()))
    assert not served.node.calls
    home.pid_file.write_text(str(os.getpid()))
    up.announce(call, None, lambda: up._runs(home.root, os.getpid()))
    assert [each[0] for each in served.node.calls] == ["node.status"]


# ---- the folder that it stands in -------------------------------------------------------------


def test_app_and_branch_come_from_the_folder(run: Run, served: Served) -> None:
    Path("skerry.toml").write_text(APP)
    below = Path("a/b")
    below.mkdir(parents=True)
    os.chdir(below)
    assert run("branch", "list")[0] == 0
    code, out, err = run("branch", "checkout", "pr-42")
    assert code == 0, err
    assert "pr-42" in out
    run("resource", "list")
    assert served.node.calls[-1][1].branch == "pr-42"
    run("resource", "list", "--branch", "main")
    assert served.node.calls[-1][1].branch == "main"
    code, _, err = run("branch", "checkout", "pr-43")
    assert code == 1
    assert "Did you mean pr-42?" in err


def test_app_and_branch_are_arguments_or_options(run: Run, served: Served) -> None:
    for words in (["branch", "list", "newsroom"], ["branch", "list", "--app", "newsroom"]):
        assert run(*words)[0] == 0
        assert served.node.calls[-1][1].app == "newsroom"
    for words in (["sleep", "pr-42"], ["sleep", "--branch", "pr-42"]):
        assert run(*words, "--app", "newsroom")[0] == 0
        assert served.node.calls[-1][1].branch == "pr-42"


def test_a_broken_app_file_is_a_clear_error(run: Run) -> None:
    Path("skerry.toml").write_text("[app\n")
    code, _, err = run("branch", "list")
    assert code == 2
    assert "error[CONFIG_INVALID]" in err
    Path("skerry.toml").write_text("[app]\n")
    assert "does not name its app" in run("branch", "list")[2]


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ('\nnam = "shop"', "line 3: app.nam: expected a known key", "Did you mean name?"),
        ("name = 3", "line 2: app.name: expected a name for an app", "It is 3."),
        ('name = "shop"\nignore = "x"', "line 3: app.ignore: expected a list", "It is 'x'."),
    ],
)
def test_a_mistake_about_the_app_has_its_place(run: Run, text: str, line: str, why: str) -> None:
    Path("skerry.toml").write_text(f"[app]\n{text}\n")
    code, _, err = run("branch", "list")
    assert code == 2
    assert line in err
    assert why in err


def test_deploy_sends_the_folder_without_what_is_ignored(run: Run, served: Served) -> None:
    for name in ("skerry.toml", "app.py", "x.log", "secret.txt", "sub/secret.txt", ".env"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(APP)
    for folder in (".git", "node_modules/x", "__pycache__", ".skerry", "drafts"):
        Path(folder).mkdir(parents=True)
        Path(folder, "file").write_text("x")
    Path("link.py").symlink_to("app.py")
    code, out, err = run("deploy")
    assert code == 0, err
    assert "serves version 1" in out
    assert "! no value yet for KEY" in err
    assert sorted(served.node.deployed) == ["app.py", "link.py", "skerry.toml", "sub/secret.txt"]


def test_deploy_refuses_links_that_lead_out(run: Run, served: Served) -> None:
    Path("skerry.toml").write_text(APP)
    Path("out").symlink_to("/etc/passwd")
    code, _, err = run("deploy")
    assert code == 2
    assert "leads out" in err


def test_deploy_keeps_bytes_and_modes(run: Run, served: Served) -> None:
    Path("skerry.toml").write_text(APP)
    Path("run.sh").write_bytes(bytes(range(256)) * 300)
    Path("run.sh").chmod(0o755)
    assert run("deploy")[0] == 0
    with tarfile.open(fileobj=io.BytesIO(served.node.uploads["up0"])) as archive:
        member = archive.getmember("run.sh")
        file = archive.extractfile(member)
        assert file is not None
        assert file.read() == bytes(range(256)) * 300
        assert member.mode == 0o755
        assert (member.uid, member.uname) == (0, "")


def test_init_writes_an_app_whose_tests_pass(run: Run, served: Served) -> None:
    code, out, _ = run("init", "myapp")
    assert code == 0
    assert "myapp/skerry.toml" in out
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        check=False,
        cwd="myapp",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert run("init", "myapp")[0] == 1
    assert run("init", "My App")[0] == 2
    assert run("deploy", "myapp")[0] == 0
    assert "app.py" in served.node.deployed


def test_export_and_import(run: Run, served: Served) -> None:
    Path("skerry.toml").write_text(APP)
    code, out, _ = run("export", "wall")
    assert code == 0
    assert "newsroom-wall.tar" in out
    assert tarfile.is_tarfile("newsroom-wall.tar")
    assert run("export", "wall")[0] == 1
    code, out, _ = run("export", "--unpack", "files", "--json")
    assert json.loads(out)["resources"] == ["wall"]
    assert Path("files/wall/notes.ndjson").read_text() == "{}\n"
    assert run("import", "newsroom-wall.tar", "wall")[0] == 0
    assert served.node.calls[-1][1].name == "wall"
    assert run("import", "files")[0] == 0
    with tarfile.open(fileobj=io.BytesIO(served.node.uploads["up1"])) as archive:
        assert archive.getnames() == ["wall/notes.ndjson"]


def test_a_secret_is_read_from_stdin_only(run: Run, served: Served) -> None:
    code, out, err = run("secret", "set", "KEY", "--app", "newsroom", stdin="tuna\n")
    assert code == 0, err
    assert served.node.calls[-1][1] == ("KEY", "tuna", "newsroom") or (
        served.node.calls[-1][1].value == "tuna"
    )
    assert "tuna" not in out + err
    assert run("secret", "set", "KEY", "tuna", "--app", "newsroom")[0] == 2
    code, out, err = run("secret", "set", "KEY=tuna", "--app", "newsroom", stdin="")
    assert (code, out) == (2, "")
    assert "hint: skerry secret set KEY\n" in err
    assert "tuna" not in err
    assert run("secret", "set", "KEY", "--app", "newsroom", stdin="")[0] == 2


def test_open_prints_a_one_time_login(run: Run, served: Served) -> None:
    code, out, _ = run("open")
    assert code == 0
    path = out.strip().removeprefix("http://127.0.0.1:7878")
    assert served.ask("GET", path).status == 303
    assert served.ask("GET", path).status == 401


def test_docs_without_a_node(run: Run) -> None:
    assert "reference/errors" in run("docs")[1]
    code, out, _ = run("docs", "errors#busy")
    assert code == 0
    assert out.startswith("## BUSY")
    assert "CONFLICT" not in out
    code, _, err = run("docs", "erors")
    assert code == 1
    assert "Did you mean" in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(run: Run, shell: str) -> None:
    code, out, _ = run("completion", shell)
    assert code == 0
    assert "_SKERRY_COMPLETE" in out


# ---- in a process of its own ------------------------------------------------------------------


def program(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "skerry", *words],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=30,
    )


def test_names_are_completed(served: Served) -> None:
    done = program(
        SKERRY_HOME=str(served.node.home.root),
        SKERRY_APP="newsroom",
        _SKERRY_COMPLETE="bash_complete",
        COMP_WORDS="skerry connect w",
        COMP_CWORD="2",
    )
    assert [line.rpartition(",")[2] for line in done.stdout.split()] == ["wall", "web"]


def test_version() -> None:
    assert program("--version").stdout == f"skerry {__version__}\n"
    assert json.loads(program("--version", "--json").stdout) == {"version": __version__}


@pytest.mark.parametrize("said", [["nonsense", "--json"], ["branch", "nonsense", "--json"]])
def test_a_wrong_word_is_told_to_programs_too(run: Run, said: list[str]) -> None:
    code, out, err = run(*said)
    assert (code, out) == (2, "")
    assert json.loads(err)["error"]["code"] == "INVALID"


def test_a_reader_that_goes_away_is_no_error(served: Served) -> None:
    done = subprocess.run(
        f"{sys.executable} -m skerry describe --json | head -c 10",
        shell=True,
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stderr == ""


IMPORTED = """
import sys
import skerry.__main__
sys.argv = {words!r}
try:
    skerry.__main__.main()
except SystemExit:
    pass
sys.stderr.write(" ".join(sys.modules))
"""


def imported(*words: str, home: str = "") -> set[str]:
    script = IMPORTED.format(words=["skerry", *words])
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "SKERRY_HOME": home},
        timeout=30,
    )
    return set(done.stderr.split())


SERVERS = {"starlette", "uvicorn", "jinja2", "asyncio", "uvloop", "cryptography", "apsw"}


def test_the_version_imports_nothing() -> None:
    assert not imported("--version") & {*SERVERS, "click", "msgspec", "dataclasses", "pathlib"}


def test_help_imports_no_kind_and_no_node() -> None:
    found = imported("--help")
    assert "click" in found
    assert not found & {*SERVERS, "msgspec", "http.client", "tomllib", "json", "tarfile"}
    assert not [name for name in found if name.startswith(("skerry.kinds", "skerry.node"))]


def test_status_imports_no_server_and_no_kind(served: Served) -> None:
    found = imported("status", home=str(served.node.home.root))
    assert "skerry.surfaces.cli.client" in found
    assert not found & {*SERVERS, "tarfile", "skerry.surfaces.pages"}
    assert not [name for name in found if name.startswith("skerry.kinds")]


@pytest.mark.skipif(shutil.which("mkfs.ext4", path=SYSTEM) is None, reason="needs mkfs.ext4")
@pytest.mark.parametrize("asked", [("--filesystem", "xfs"), ("--size", "32M"), ()])
def test_volume_create_takes_no_other_image_for_the_one_asked_for(
    run: Run, home: Home, asked: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[Path] = []

    def move_in(image: Path, _: Path) -> int:
        moved.append(image)
        return 0

    monkeypatch.setattr("skerry.node.volume.move_in", move_in)
    image = home.root / "volume.img"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    mkfs = shutil.which("mkfs.ext4", path=SYSTEM) or ""
    subprocess.run([mkfs, "-q", str(image)], check=True)
    code, out, error = run("volume", "create", *asked)
    if asked:
        assert (code, moved) == (1, [])
        assert "CONFLICT" in error
        assert "of ext4 with 16.0 MiB" in error
    else:
        assert (code, moved) == (0, [image]), error
        assert "holds up to 16.0 MiB" in out
