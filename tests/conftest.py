"""What all tests share: restic as it is, but for the time that opening a repository takes."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHEAP_KEYS = Path(__file__).parent / "programs" / "cheap_keys.py"
PROGRAM = """\
#!/bin/sh
case " $* " in
*" init "*) "{restic}" "$@" && exec "{python}" "{cheap_keys}" ;;
*) exec "{restic}" "$@" ;;
esac
"""


@pytest.fixture(scope="session", autouse=True)
def cheap_repositories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Put a restic before the installed one that makes repositories which are cheap to open."""
    restic = shutil.which("restic")
    if restic is None:
        yield
        return
    folder = tmp_path_factory.mktemp("programs")
    program = folder / "restic"
    program.write_text(PROGRAM.format(restic=restic, python=sys.executable, cheap_keys=CHEAP_KEYS))
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        yield
