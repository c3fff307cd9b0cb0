"""The developer's script: what it counts, what it says, and when it does nothing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def dev(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("skerry_dev", ROOT / "dev.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "skerry_dev", module)
    spec.loader.exec_module(module)
    return module


def test_it_counts_what_pytest_ran(dev: ModuleType, tmp_path: Path) -> None:
    result = tmp_path / "result.xml"
    result.write_text(
        '<testsuites><testsuite tests="9" failures="2" errors="1" skipped="3"/></testsuites>'
    )
    outcome = dev.count("tests", result)
    assert (outcome.passed, outcome.failed, outcome.skipped) == (3, 3, 3)
    result.write_text("<testsuites>")
    assert dev.count("tests", result) is None


@pytest.mark.parametrize(("failed", "code"), [(0, 0), (1, 1)])
def test_it_ends_with_one_line_of_numbers(
    dev: ModuleType, capsys: pytest.CaptureFixture[str], failed: int, code: int
) -> None:
    outcomes = [dev.Outcome("lint", 1.0, 1, 0), dev.Outcome("tests", 2.0, 5, failed, 2)]
    assert dev.report(outcomes, 3.0) == code
    assert capsys.readouterr().out.splitlines()[-1] == f"6 passed, {failed} failed, 2 skipped"


def test_a_failing_step_is_counted_and_does_not_stop_the_rest(dev: ModuleType) -> None:
    outcome = dev.measure("types", dev.command(sys.executable, "-c", "raise SystemExit(3)"))
    assert (outcome.passed, outcome.failed) == (0, 1)
    outcome = dev.measure("types", dev.command(sys.executable, "-c", ""))
    assert (outcome.passed, outcome.failed) == (1, 0)


def test_tests_write_to_memory_where_there_is_plenty(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(dev, "MEMORY", tmp_path)
    monkeypatch.setattr(dev, "MEMORY_BYTES_MIN", 1)
    monkeypatch.delenv("TMPDIR", raising=False)
    with dev.scratch() as place:
        folder = Path(place["TMPDIR"])
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o7777 == 0o1777, "cells have users of their own"
        script = "import os, sys; sys.exit(os.environ['TMPDIR'] != sys.argv[1])"
        dev.run([sys.executable, "-c", script, str(folder)], more=place)
    assert not folder.exists()
    for name, value in (("MEMORY_BYTES_MIN", 1 << 60), ("MEMORY", tmp_path / "none")):
        with monkeypatch.context() as less:
            less.setattr(dev, name, value)
            with dev.scratch() as place:
                assert place == {}
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    with dev.scratch() as place:
        assert place == {}, "whoever says where is heard"


def test_a_program_that_hangs_is_ended(dev: ModuleType) -> None:
    start = time.monotonic()
    with pytest.raises(dev.StepError, match="longer than 1 s"):
        dev.run([sys.executable, "-c", "import time; time.sleep(30)"], seconds=1)
    assert time.monotonic() - start < 20


def test_the_second_way_is_tried(dev: ModuleType, tmp_path: Path) -> None:
    made = tmp_path / "made"
    dev.first_that_works([["false"], ["touch", made]])
    assert made.exists()
    with pytest.raises(dev.StepError):
        dev.first_that_works([["false"], ["false"]])


def test_what_installs_trusts_whom_this_machine_trusts(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_SYSTEM_CERTS", "false")
    monkeypatch.delenv("UV_NATIVE_TLS", raising=False)
    got = dev.environment()
    assert got["UV_NATIVE_TLS"] == "true"
    assert got["UV_SYSTEM_CERTS"] == "false", "what its user says goes first"


PIP = """#!/bin/sh
case "$*" in
  *"config get"*) exit ${TOLD:-1};;
  *--require-hashes*) mkdir -p "$VENV/uv/bin"; ln -s /bin/true "$VENV/uv/bin/uv";;
esac
"""


@pytest.mark.parametrize(("told", "laid"), [("1", True), ("0", False)])
def test_uv_is_laid_by_pip_unless_pip_was_told_of_an_index(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: str, laid: bool
) -> None:
    pip, lock = tmp_path / "pip", tmp_path / "dev.lock"
    pip.write_text(PIP)
    pip.chmod(0o755)
    lock.write_text("a==1 \\\n    --hash=sha256:00\nuv==1 \\\n    --hash=sha256:00\n")
    monkeypatch.setattr(dev, "VENV", tmp_path)
    monkeypatch.setattr(dev, "LOCKS", {"dev": lock})
    monkeypatch.setattr(dev.shutil, "which", lambda name: None)
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.setenv("VENV", str(tmp_path))
    monkeypatch.setenv("TOLD", told)
    own = tmp_path / "uv" / "bin" / "uv"
    assert dev.find_uv([pip]) == (own if laid else None)
    assert own.exists() == laid
    assert dev.find_uv([]) == (own if laid else None), "it is found again"


def test_it_says_which_tests_are_left_out(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dev.shutil, "which", lambda name, path=None: None)
    dev.widen()
    dev.install_clients()
    said = capsys.readouterr().out
    assert all(tool.program in said for tool in dev.TOOLS)
    assert "NO TESTS OF THE JAVASCRIPT CLIENTS" in said


def test_a_changed_lock_asks_for_a_set_up(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "dev.lock"
    lock.write_text("a==1\n")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    monkeypatch.setattr(dev, "LOCKS", {"dev": lock, "up": lock})
    monkeypatch.setattr(dev, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(dev, "PYTHON", python)
    assert not dev.is_current("dev")
    (tmp_path / ".venv" / "stamp").write_text(dev.stamp("dev"))
    assert dev.is_current("dev")
    lock.write_text("a==2\n")
    assert not dev.is_current("dev")


def test_two_set_ups_wait_for_each_other(dev: ModuleType, tmp_path: Path) -> None:
    holder = (
        "import fcntl, os, sys; f = os.open(sys.argv[1], os.O_RDONLY);"
        "fcntl.flock(f, fcntl.LOCK_EX); sys.stdout.write('held\\n'); sys.stdout.flush();"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder, str(tmp_path)]
    pipe = subprocess.PIPE
    folder = dev.os.open(tmp_path, dev.os.O_RDONLY)
    try:
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdout and process.stdout.readline() == "held\n"
            assert not dev.take(folder)
            assert process.stdin
            process.stdin.close()
            process.wait(timeout=20)
        assert dev.take(folder)
    finally:
        dev.os.close(folder)
