"""Rules that every Python file of the repository keeps.

Each rule is one function from a source file to what is wrong in it, and comes with samples that it
must catch: a rule that catches nothing any more fails its own test. Words that a rule forbids are
put together from parts here, so that the rule holds for this file too.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("src", "tests", "bench", "suites", "examples")
EXCLUDED = {"node_modules", "vendor", "__pycache__", "generated"}
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600
COLUMNS_MAX = 100
PRAGMA = re.compile(r"  # (?:noqa|type): .*$")
"""Orders to tools at a line's end; what counts is what people read before them."""


@dataclass(frozen=True)
class Source:
    """A Python file: its path from the root, its text and its tree."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def is_product(self) -> bool:
        """Tell whether the file is shipped: in src and not a test of a kind."""
        return self.path.startswith("src/") and "tests" not in self.path.split("/")

    def calls(self) -> Iterator[tuple[int, str]]:
        """Yield line and dotted name of everything that is called."""
        for node in self.nodes:
            if isinstance(node, ast.Call):
                yield node.lineno, ast.unparse(node.func)


Finding = str
Rule = Callable[[Source], Iterator[Finding]]
RULES: dict[str, tuple[Rule, list[Source]]] = {}


def rule(*samples: str, path: str = "src/skerry/sample.py") -> Callable[[Rule], Rule]:
    """Register a rule with the samples that it must catch."""

    def register(function: Rule) -> Rule:
        RULES[function.__name__] = (function, [Source(path, sample) for sample in samples])
        return function

    return register


@rule("def long():\n" + "    x = 1\n" * 70, "class A:\n async def f():\n" + "  x = 1\n" * 70)
def functions_are_short(source: Source) -> Iterator[Finding]:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{node.lineno}: {node.name} has {lines} lines"


@rule("x = 1\n" * 601)
def files_are_short(source: Source) -> Iterator[Finding]:
    if len(source.lines) > FILE_LINES_MAX:
        yield f"1: {len(source.lines)} lines"


@rule("x = '" + "a" * 95 + "'\n", "# " + "ä" * 99)
def lines_are_short(source: Source) -> Iterator[Finding]:
    for number, line in enumerate(source.lines, start=1):
        text = PRAGMA.sub("", line)
        if len(text) > COLUMNS_MAX:
            yield f"{number}: {len(text)} columns"


@rule("x = 1\n", "import os\n'''late'''\n")
def modules_say_what_they_are_for(source: Source) -> Iterator[Finding]:
    if (source.is_product or source.path == "dev.py") and not ast.get_docstring(source.tree):
        yield "1: no docstring"


@rule("print(1)\n", "def f():\n    return [print(x) for x in y]\n")
def nothing_is_printed(source: Source) -> Iterator[Finding]:
    if source.is_product:
        yield from (f"{line}: print" for line, name in source.calls() if name == "print")


_CLOCK_CALL = re.compile(
    r"time\.(time|time_ns|localtime|gmtime)"
    r"|(datetime\.)?(datetime|date)\.(now|utcnow|today)"
    r"|random\.(?!Random$).*"
)


@rule(
    "import time\nx = time.time()\n",
    "import datetime\nx = datetime.datetime.now()\n",
    "from datetime import datetime\nx = datetime.utcnow()\n",
    "import random\nx = random.choice('ab')\n",
    "from time import time_ns\n",
    "from random import randint\n",
)
def time_and_chance_come_through_the_clock(source: Source) -> Iterator[Finding]:
    if not source.is_product or source.path == "src/skerry/kernel/clock.py":
        return
    for line, name in source.calls():
        if _CLOCK_CALL.fullmatch(name):
            yield f"{line}: {name}"
    for node in source.nodes:
        if isinstance(node, ast.ImportFrom) and node.module in {"time", "random"}:
            for alias in node.names:
                if _CLOCK_CALL.fullmatch(f"{node.module}.{alias.name}"):
                    yield f"{node.lineno}: from {node.module} import {alias.name}"


@rule(
    "try:\n    f()\nexcept:\n    raise\n",
    "try:\n    f()\nexcept Exception:\n    pass\n",
    "try:\n    f()\nexcept (OSError, BaseException):\n    ...\n",
    "with contextlib.suppress(Exception):\n    f()\n",
)
def no_error_is_swallowed(source: Source) -> Iterator[Finding]:
    for node in source.nodes:
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                yield f"{node.lineno}: bare except"
            elif _is_any_error(node.type) and all(_does_nothing(line) for line in node.body):
                yield f"{node.lineno}: except {ast.unparse(node.type)} that does nothing"
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith("suppress")
            and any(_is_any_error(argument) for argument in node.args)
        ):
            yield f"{node.lineno}: suppress of every error"


def _is_any_error(node: ast.expr) -> bool:
    options = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(ast.unparse(option) in {"Exception", "BaseException"} for option in options)


def _does_nothing(node: ast.stmt) -> bool:
    constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Pass) or constant


_UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")


@rule("# TO" + "DO later\n", "'''FIX" + "ME'''\n", "x = 1  # X" + "XX\n", path="tests/a/test_a.py")
def nothing_is_left_to_do(source: Source) -> Iterator[Finding]:
    for number, line in enumerate(source.lines, start=1):
        if _UNFINISHED.search(line):
            yield f"{number}: {line.strip()}"


@rule(
    "# x = compute(1)\n",
    "# import os\n",
    "# if ready:\n",
    "def f():\n    # self.close()\n    pass\n",
    "# return value\n",
    path="tests/a/test_a.py",
)
def no_code_is_commented_out(source: Source) -> Iterator[Finding]:
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        stands_alone = token.type == tokenize.COMMENT and token.line.lstrip().startswith("#")
        if stands_alone and _is_code(token.string.lstrip("#").strip()):
            yield f"{token.start[0]}: {token.string}"


_BLOCKS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.If, ast.For, ast.While)
_STATEMENTS = (ast.Import, ast.ImportFrom, ast.Assign, ast.AugAssign, ast.Raise, ast.Delete)


def _is_code(text: str) -> bool:
    """Tell whether a comment reads as a statement; words alone and prose do not."""
    try:
        body = ast.parse(text + (" pass" if text.endswith(":") else "")).body
    except (SyntaxError, ValueError):
        return False
    if len(body) != 1:
        return False
    node = body[0]
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call | ast.Await)
    return isinstance(node, _BLOCKS + _STATEMENTS + (ast.Return, ast.With, ast.Try))


def kind_names(root: Path) -> set[str]:
    """Return the kinds by their folders; those that start with _ are shared protocols."""
    folder = root / "src" / "skerry" / "kinds"
    found = folder.iterdir() if folder.exists() else iter(())
    return {path.name for path in found if path.is_dir() and path.name[0] not in "_."}


KINDS = kind_names(ROOT) | {"hello"}
_SURFACES = "src/skerry/surfaces/sample.py"


@rule("if kind == 'hello':\n    pass\n", "x = {'hello': 1}\n", path=_SURFACES)
def surfaces_name_no_kind(source: Source) -> Iterator[Finding]:
    """What is special to a kind belongs into its folder, or a new kind costs edits elsewhere."""
    if not source.is_product or source.path.startswith("src/skerry/kinds/"):
        return
    for node in source.nodes:
        if isinstance(node, ast.Constant) and node.value in KINDS:
            yield f"{node.lineno}: {node.value!r}"


_KIND_FOLDER = re.compile(r"src/skerry/kinds/(\w+)/")


@rule(
    "from skerry.kinds.other.engine import Engine\n",
    "import skerry.kinds.other\n",
    "from skerry.kinds import other\n",
    path="src/skerry/kinds/hello/sample.py",
)
def kinds_import_no_other_kind(source: Source) -> Iterator[Finding]:
    """What two kinds share is a protocol in `kinds/_shared`, which knows of no kind."""
    own = _KIND_FOLDER.match(source.path)
    if own is None:
        return
    for line, name in _imports(source):
        if name.startswith("skerry.kinds.") and name.split(".")[2] not in {own[1], "_shared"}:
            yield f"{line}: {name}"


def _imports(source: Source) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything that is imported."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def python_files(root: Path = ROOT) -> Iterator[Path]:
    """Yield every Python file that people wrote."""
    yield root / "dev.py"
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            if not EXCLUDED.intersection(path.relative_to(root).parts):
                yield path


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    paths = list(python_files())
    return [Source(str(path.relative_to(ROOT)), path.read_text()) for path in paths]


@pytest.mark.parametrize("name", RULES)
def test_the_repository_keeps(name: str, sources: list[Source]) -> None:
    found = [f"{source.path}:{what}" for source in sources for what in RULES[name][0](source)]
    assert not found, f"{name}:\n" + "\n".join(found)


@pytest.mark.parametrize("name", RULES)
def test_catches_every_sample(name: str) -> None:
    function, samples = RULES[name]
    assert samples, "a rule without a sample cannot be shown to work"
    missed = [sample.text for sample in samples if not list(function(sample))]
    assert not missed


PROSE = """'''A clean file.'''

# The lock is held here, because writers of other processes must wait.
# See RFC 2104.
# note: this is prose
X = 1  # x = 2 would be too many


def short() -> int:
    '''Return it.'''
    try:
        return X
    except OSError:
        return 0
"""


@pytest.mark.parametrize("name", RULES)
def test_leaves_clean_code_alone(name: str) -> None:
    assert list(RULES[name][0](Source("src/skerry/clean.py", PROSE))) == []


def test_sees_the_source(sources: list[Source]) -> None:
    paths = {source.path for source in sources}
    assert {"dev.py", "src/skerry/kernel/kind.py", "tests/repository/test_tidy.py"} <= paths
