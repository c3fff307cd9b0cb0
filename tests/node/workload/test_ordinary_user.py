"""The same without root: what holds there, holds by namespaces, Landlock's scopes and rlimits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from skerry.testing.nodes import open_directory

ROOT = Path(__file__).resolve().parents[3]
UID = 765_001
RUN = """
import os, sys
from skerry.node.sandbox import expose
uid, home, root, *tests = sys.argv[1:]
expose([sys.prefix, sys.base_prefix, root])
os.setgroups([])
os.setresgid(int(uid), int(uid), int(uid))
os.setresuid(int(uid), int(uid), int(uid))
os.environ.update(HOME=home, TMPDIR=home, PYTHONDONTWRITEBYTECODE="1")
os.chdir(root)
options = ["-q", "-n0", "-p", "no:cacheprovider", f"--basetemp={home}/pytest"]
os.execv(sys.executable, [sys.executable, "-m", "pytest", *options, *tests])
"""
TESTS = (
    "test_escapes.py::TestOut::test_nothing_of_the_machine_is_reached[bwrap]",
    "test_escapes.py::TestOut::test_a_session_has_no_more_rights[bwrap]",
    "test_escapes.py::TestAmounts::test_memory[bwrap]",
    "test_escapes.py::TestAmounts::test_files_in_memory_count_as_memory[bwrap]",
    "test_escapes.py::TestAmounts::test_a_fork_bomb[bwrap]",
    "test_escapes.py::TestAmounts::test_disk[bwrap]",
    "test_life.py::TestStartsAgain",
    "test_life.py::TestOutlivesItsNode::test_it_goes_on_and_is_found_again",
    "test_life.py::TestWatching::test_use_grows_and_stays",
    "test_life.py::TestSessions",
    "test_life.py::TestPorts::test_a_connection_reaches_the_program",
)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(os.geteuid() != 0, reason="who is no root runs the tests themselves so")
def test_without_root() -> None:
    with open_directory() as made:
        home = made / "user"
        home.mkdir(mode=0o700)
        os.chown(home, UID, UID)
        last = run_as_user(home)
    assert "failed" not in last
    if "passed" not in last:
        pytest.skip(f"nothing can be tried as an ordinary user here: {last}")


def run_as_user(home: Path) -> str:
    """Run the tests as an ordinary user; return pytest's last line."""
    tests = [f"tests/node/workload/{each}" for each in TESTS]
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(UID), str(home), str(ROOT), *tests],
        check=False,
        capture_output=True,
        text=True,
        timeout=170,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    return done.stdout.strip().splitlines()[-1]
