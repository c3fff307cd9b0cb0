"""Pages that say how to do something are done, word by word, against a node of their own."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from tests.docs.runner import PageError, Step, compare, matches, programs_of, run_page, steps_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if any(True for _ in steps_of(path.read_text()))
)
EXTRA_PROGRAMS = {"curl", "psql", "aws", "node", "pgbench", "restic"}


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", PAGES)
def test_page_does_what_it_says(page: str) -> None:
    text = (ROOT / page).read_text()
    missing = sorted(
        each
        for each in EXTRA_PROGRAMS & programs_of(list(steps_of(text)))
        if shutil.which(each) is None
    )
    if missing:
        pytest.skip(f"THE PAGE {page} IS NOT TRIED: this machine has no {', '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="skerry-page-") as made:
        folder = Path(made)
        folder.chmod(0o711)
        assert run_page(text, folder)


def test_the_start_is_tried() -> None:
    assert "docs/start/index.md" in PAGES


PAGE = """
```console run
$ echo one \\
  two
one two
$ false
```
```console
$ not run
```
```toml file=a/b.toml
x = 1
```
"""


def test_steps_are_found() -> None:
    first, second, file = steps_of(PAGE)
    assert (first.command, first.expected) == ("echo one \\\n  two", ("one two",))
    assert second == Step("false")
    assert "a/b.toml" in file.command
    assert "x = 1\n" in file.command
    assert {"echo", "false"} <= programs_of([first, second])


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        (("a  b",), "a b\n", True),
        (("made in 5 ms",), "made in 17 ms", True),
        (("token …",), "token abc", True),
        (("a", "…", "d"), "a\nb\nc\nd\n", True),
        (("a", "…"), "a\n", True),
        (("a",), "a\nb\n", False),
        (("a", "b"), "b\na\n", False),
        (("a.c",), "abc", False),
    ],
)
def test_outputs_are_compared(expected: tuple[str, ...], printed: str, same: bool) -> None:
    assert matches(expected, printed) is same


@pytest.mark.parametrize("command", ["echo two", "false", "exit 1"])
def test_what_is_not_so_is_caught(command: str, tmp_path: Path) -> None:
    page = f"```console run\n$ {command}\none\n```\n"
    with pytest.raises(PageError):
        run_page(page, tmp_path)
    compare([Step("echo one", ("one",))], "\n@@step 0\none\n\n@@step 0 0\n", "")
