"""The environments of clients: locked, made once, and refused where they cannot be."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from skerry.kinds.quantum import stacks
from skerry.kinds.quantum.tests import environments
from skerry.kinds.quantum.tests.environments import EnvironmentsError


def test_every_client_is_locked_as_its_stack_says() -> None:
    wanted = environments.wanted()
    assert {"clients-iqm", "clients-azure", "clients-aqt-portal"} <= set(wanted)
    for name, stack in wanted.items():
        lines = environments.lock_of(name).read_text().splitlines()
        pins = dict(line.split()[0].split("==") for line in lines if "==" in line)
        for asked in map(Requirement, stack.packages):
            version = pins[canonicalize_name(asked.name)]
            assert asked.specifier.contains(version), f"{asked}: run python3 dev.py lock"
    assert {environments.lock_of(name) for name in wanted} == set(environments.LOCKS.iterdir())


def test_the_page_of_compatibility_tells_the_versions_that_are_tried() -> None:
    page = (environments.ROOT / "docs" / "reference" / "compatibility.md").read_text()
    rows = re.findall(r"^\| ([a-z-]+) \| (\d[\w.]+\.\d+) \| .* \|$", page, re.MULTILINE)
    assert len(rows) >= 13
    requirements = environments.ROOT / "requirements"
    locks = "\n".join(lock.read_text() for lock in requirements.rglob("*.lock"))
    assert not [row for row in rows if f"\n{'=='.join(row)} " not in locks]


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Leave one client, whose lock holds nothing, and no uv."""
    stack = stacks.STACKS["clients-iqm"]._replace(python=(3, 11))
    monkeypatch.setattr(environments, "wanted", lambda: {"clients-iqm": stack})
    monkeypatch.setattr(environments, "LOCKS", tmp_path)
    monkeypatch.setattr(environments, "find_uv", lambda: None)
    (tmp_path / "iqm.lock").touch()
    return tmp_path / "iqm.lock"


def test_an_environment_is_made_once_and_again_after_its_lock_changed(
    one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "made"
    environments.make_all(place)
    made = stacks.folder(place, "clients-iqm")
    assert (made / "bin" / "python").exists()
    assert environments.stale(place) == {}
    assert "clients-iqm" in capsys.readouterr().out
    one.write_text("# anything\n")
    assert environments.stale(place) == {"clients-iqm": sys.executable}
    one.write_text(f"nothing @ file://{tmp_path}/nothing-1-py3-none-any.whl --hash=sha256:00\n")
    with pytest.raises(EnvironmentsError, match="nothing-1"):
        environments.make_all(place)
    assert not (made / stacks.COMPLETE).exists(), "half of an environment is none"


def test_a_client_without_a_lock_or_a_python_is_told(
    one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one.unlink()
    with pytest.raises(EnvironmentsError, match=r"dev\.py lock"):
        environments.stale(tmp_path)
    monkeypatch.setattr(environments, "find_python", lambda oldest: None)
    assert environments.stale(tmp_path) == {}
    assert "Python 3.11 is missing: NO TESTS OF clients-iqm" in capsys.readouterr().out


def test_a_newer_python_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    future = (sys.version_info.major, sys.version_info.minor + 1)
    name = f"{future[0]}.{future[1]}"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    assert environments.find_python((3, 11)) == sys.executable
    assert environments.find_python(future) is None
    kept = tmp_path / "pyenv" / "versions" / f"{name}.1" / "bin" / "python"
    kept.parent.mkdir(parents=True)
    kept.symlink_to(sys.executable)
    broken = tmp_path / f"python{name}"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    assert environments.find_python(future) == str(kept), "a name that runs nothing is passed over"


def test_too_little_space_is_told_before_anything_is_made(tmp_path: Path) -> None:
    environments.check_space(tmp_path, 1, bytes_each=1)
    with pytest.raises(EnvironmentsError, match=r"GB are free[^\n]*\n  hint: .*--fast"):
        environments.check_space(tmp_path, 7, bytes_each=1 << 60)
