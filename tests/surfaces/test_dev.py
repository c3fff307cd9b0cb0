"""Watching a folder, and what `dev` and `up` do around a node."""

from __future__ import annotations

import fcntl
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.surfaces.conftest import Served
from tests.surfaces.test_cli import APP, Run

from skerry.kernel.errors import SkerryError
from skerry.node import memory
from skerry.surfaces.cli import up
from skerry.surfaces.cli.call import Project
from skerry.surfaces.cli.dev import snapshot, wait_for_change
from skerry.surfaces.cli.up import find_example, read_port


def test_a_change_is_seen_soon_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon: the pauses that are made after a change, whatever the machine adds to them."""
    (tmp_path / "app.py").write_text("1")
    (tmp_path / ".git").mkdir()
    project = Project(tmp_path, "x")
    before = snapshot(project)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            (tmp_path / ".git" / "index").write_text("not watched")
            (tmp_path / "app.py").write_text("22")
        if len(pauses) == 4:
            (tmp_path / "new.py").write_text("3")

    clock = SimpleNamespace(sleep=sleep, monotonic=lambda: 0.0)
    monkeypatch.setattr("skerry.surfaces.cli.dev.time", clock)
    after = wait_for_change(project, before)
    assert set(after) == {str(tmp_path / "app.py"), str(tmp_path / "new.py")}
    assert sum(pauses[2:]) < 0.2


def test_dev_makes_a_branch_of_its_own(run: Run, served: Served) -> None:
    Path("skerry.toml").write_text(APP.replace("newsroom", "myapp"))
    code, out, err = run("dev", "--once", "--branch", "dev-eve")
    assert code == 0, err
    assert "version 1" in out
    names = [name for name, _, _ in served.node.calls]
    assert names == ["branch.list", "app.deploy", "branch.create", "app.deploy"]
    assert [call.branch for name, call, _ in served.node.calls if name == "app.deploy"] == [
        "main",
        "dev-eve",
    ]


def test_dev_keeps_a_branch_that_is_there(run: Run, served: Served) -> None:
    Path("skerry.toml").write_text(APP)
    assert run("dev", "--once", "--branch", "dev-ada")[0] == 0
    assert [name for name, _, _ in served.node.calls] == ["branch.list", "app.deploy"]


@pytest.mark.parametrize("text", ["pg", "pg=", "=1", "pg=x", "pg=70000"])
def test_a_wrong_port_is_refused(text: str) -> None:
    with pytest.raises(SkerryError):
        read_port(text)


def test_ports_and_examples() -> None:
    assert read_port("pg=7432") == ("pg", 7432)
    with pytest.raises(SkerryError, match="There is no example nothing"):
        find_example("nothing")


def test_a_kind_starts_from_the_template(run: Run, tmp_path: Path) -> None:
    code, _, err = run("kind", "new", "greeter", "--into", str(tmp_path / "kinds"))
    assert code == 0, err
    folder = tmp_path / "kinds" / "greeter"
    assert 'name="greeter"' in (folder / "manifest.py").read_text()
    assert not [p for p in folder.rglob("*") if p.is_file() and "hello" in p.read_text().lower()]
    assert run("kind", "new", "greeter", "--into", str(tmp_path / "kinds"))[0] == 1
    for wrong in ("Not-a-name", "class"):
        assert run("kind", "new", wrong, "--into", str(tmp_path / "kinds"))[0] == 2


def test_a_second_node_on_a_home_is_refused_at_once(run: Run, tmp_path: Path) -> None:
    with (tmp_path / "node.pid").open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("4711")
        held.flush()
        code, _, err = run("up", "--detach", "--home", str(tmp_path))
    assert code == 1
    assert err.startswith("error[ALREADY_RUNNING]: A node runs on")
    assert "process 4711." in err
    assert not (tmp_path / "up.log").exists(), "nothing was started"


def test_a_detached_node_that_cannot_start_tells_why(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["skerry", "up", "--detach", "--port", "nonsense"])
    code, _, err = run("up", "--detach")
    assert code == 1
    assert "error[ENGINE_FAILED]" in err
    assert "expected a wire and its port" in err


def test_a_node_keeps_its_memory_in_one_before_it_has_a_second_thread(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr("gc.disable", lambda: None)
    monkeypatch.setattr(memory, "keep_in_one", lambda: order.append("one"))
    monkeypatch.setattr(up, "_greet", lambda *_: order.append("thread"))
    monkeypatch.setattr("skerry.app.up", lambda _: order.append("node"))
    assert run("up")[0] == 0
    assert order[0] == "one"
    assert "node" in order
