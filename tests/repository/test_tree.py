"""Rules for the repository as a whole: its files, its kinds, its modules.

Every rule takes the root of a tree, so that a test can show it a small broken one.
"""

from __future__ import annotations

import ast
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXCLUDED = {"node_modules", "vendor", "dist"}
TEXT = {".py", ".md", ".toml", ".json", ".lock", ".html", ".css", ".js", ".sh", ".mjs", ".txt", ""}
REQUIRED_OF_A_KIND = ("__init__.py", "manifest.py", "engine.py", "README.md")

# Put together from parts, so that this file keeps its own rule.
FOREIGN = re.compile(
    r"(?<![\w.])/wor" + r"k/"
    r"|files\.python" + r"hosted\.org|registry\.npm" + r"js\.org|\bpypi" + r"\.org"
    r"|\bissue #" + r"\d",
    re.IGNORECASE,
)


def text_files(root: Path) -> Iterator[Path]:
    """Yield every text file but those of hidden and vendored folders."""
    for folder, names, files in os.walk(root):
        names[:] = [n for n in names if n not in EXCLUDED and (n[0] not in "._" or n == "_shared")]
        for name in files:
            if Path(name).suffix in TEXT and name != ".git":
                yield Path(folder, name)
    yield from (path for path in (root / ".ci").glob("*") if path.is_file())


def foreign_words(root: Path) -> list[str]:
    """Find words of the place where the code was written, which mean nothing to its readers."""
    return [
        f"{path.relative_to(root)}:{number}: {line.strip()[:100]}"
        for path in text_files(root)
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if FOREIGN.search(line)
    ]


def unfinished_merges(root: Path) -> list[str]:
    """Find marks that a merge left for somebody to resolve."""
    return [
        f"{path.relative_to(root)}:{number}: {line[:100]}"
        for path in text_files(root)
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if line.startswith(("<" * 7 + " ", ">" * 7 + " "))
    ]


def kinds(root: Path) -> list[Path]:
    """Return the folder of every kind."""
    folder = root / "src" / "skerry" / "kinds"
    found = folder.iterdir() if folder.exists() else iter(())
    return sorted(path for path in found if path.is_dir() and path.name[0] not in "_.")


def incomplete_kinds(root: Path) -> list[str]:
    """Find kinds that lack a file which every kind has."""
    return [
        f"{folder.name} has no {name}"
        for folder in kinds(root)
        for name in REQUIRED_OF_A_KIND
        if not (folder / name).is_file()
    ]


def modules(root: Path) -> dict[str, Path]:
    """Return the shipped modules by dotted name."""
    source = root / "src"
    found = {}
    for path in source.rglob("*.py"):
        parts = path.relative_to(source).with_suffix("").parts
        if "tests" not in parts:
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def dead_modules(root: Path) -> list[str]:
    """Find shipped modules that nothing imports or names.

    A name is an import, a dotted string (`engine:HelloEngine` in a manifest, relative to its
    package or to `skerry`), or an entry point. `skerry.testing` is for tests, so they
    count for it.
    """
    known = modules(root)
    used = entry_points(root)
    for name, path in known.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        used |= {found for found in names_in(path, package) if found != name}
    for path in [*(root / "tests").rglob("*.py"), *(root / "src").rglob("tests/**/*.py")]:
        used |= {found for found in names_in(path, "") if found.startswith("skerry.testing")}
    packages = {name for name, path in known.items() if path.name == "__init__.py"}
    return sorted(set(known) - used - packages)


def entry_points(root: Path) -> set[str]:
    """Return the modules that are started or discovered rather than imported."""
    project = tomllib.loads((root / "pyproject.toml").read_text()).get("project", {})
    scripts = {value.partition(":")[0] for value in project.get("scripts", {}).values()}
    manifests = {f"skerry.kinds.{folder.name}.manifest" for folder in kinds(root)}
    mains = {name for name in modules(root) if name.endswith("__main__")}
    services = {
        name for name in modules(root) if name.endswith(".service") and "kernel" not in name
    }
    script = root / "dev.py"
    return (
        scripts
        | manifests
        | services
        | mains
        | (names_in(script, "") if script.exists() else set())
    )


def names_in(path: Path, package: str) -> set[str]:
    """Return every module that a file imports or names in a dotted string."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parents, *([node.module] if node.module else [])])
            base = base if node.level else (node.module or "")
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= dotted(node.value, package)
    return found


def dotted(text: str, package: str) -> set[str]:
    """Return the modules that a string such as `wire:make` or `skerry.node.cell` may mean."""
    text = text.removeprefix(".")
    if not re.fullmatch(r"[A-Za-z_][\w.]*(:\w+)?", text):
        return set()
    module, colon, _ = text.partition(":")
    if colon:
        return {module, f"{package}.{module}", f"skerry.{module}"}
    return {module} if module.startswith("skerry.") else set()


def error_codes(root: Path) -> set[str]:
    """Return the code of every `Problem` that the source declares."""
    return {
        node.args[0].value
        for path in modules(root).values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).split(".")[-1] == "Problem"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


def undocumented_errors(root: Path) -> list[str]:
    """Find error codes that the error reference has no heading for."""
    page = root / "docs" / "reference" / "errors.md"
    text = page.read_text() if page.exists() else ""
    headings = {word.strip("`") for word in re.findall(r"^#+ +(\S+)", text, re.MULTILINE)}
    return sorted(error_codes(root) - headings)


def long_pages(root: Path) -> list[str]:
    """Find pages that must stay short and did not."""
    limits = {"README.md": 150, "ARCHITECTURE.md": 300, "AGENTS.md": 100}
    return [
        f"{name} has {lines} lines, at most {limit}"
        for name, limit in limits.items()
        if (root / name).exists()
        for lines in [len((root / name).read_text().splitlines())]
        if lines > limit
    ]


RULES = (
    foreign_words,
    unfinished_merges,
    incomplete_kinds,
    dead_modules,
    undocumented_errors,
    long_pages,
)


@pytest.mark.parametrize("rule", RULES)
def test_the_repository_keeps(rule: object) -> None:
    assert callable(rule)
    found = rule(ROOT)
    assert not found, "\n".join(found)


def write(root: Path, files: dict[str, str]) -> Path:
    """Make a small tree."""
    for name, text in {"pyproject.toml": "", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_unfinished_merges_are_caught(tmp_path: Path) -> None:
    text = "\n".join(["one", "<" * 7 + " ours", "two", "=" * 7, "three", ">" * 7 + " theirs"])
    root = write(tmp_path, {"docs/a.md": text})
    assert [found.split(": ")[0] for found in unfinished_merges(root)] == [
        "docs/a.md:2",
        "docs/a.md:6",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "see /wor" + "k/shared/x",
        "from pypi" + ".org",
        "https://registry.npm" + "js.org/pg",
        "fixes issue #" + "12",
    ],
)
def test_foreign_words_are_caught(tmp_path: Path, line: str) -> None:
    root = write(tmp_path, {"docs/a.md": f"Fine.\n{line}\n", "docs/b.md": "A network/work/a path."})
    assert [found.split(": ")[0] for found in foreign_words(root)] == ["docs/a.md:2"]


def test_an_incomplete_kind_is_caught(tmp_path: Path) -> None:
    whole = {f"src/skerry/kinds/whole/{name}": "" for name in REQUIRED_OF_A_KIND}
    root = write(tmp_path, {**whole, "src/skerry/kinds/half/manifest.py": ""})
    assert incomplete_kinds(root) == [
        f"half has no {name}" for name in REQUIRED_OF_A_KIND if name != "manifest.py"
    ]


def test_a_dead_module_is_caught(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "pyproject.toml": '[project.scripts]\nskerry = "skerry.start:main"\n',
            "src/skerry/__init__.py": "",
            "src/skerry/start.py": "from skerry import used\nfrom . import near\n",
            "src/skerry/used.py": "LAZY = 'skerry.lazy'\n",
            "src/skerry/near.py": "",
            "src/skerry/lazy.py": "",
            "src/skerry/dead.py": "import skerry.dead\n",
            "src/skerry/market/__init__.py": "",
            "src/skerry/market/service.py": "",
            "src/skerry/kinds/__init__.py": "",
            "src/skerry/kinds/hello/__init__.py": "",
            "src/skerry/kinds/hello/manifest.py": "ENGINE = 'engine:Hello'\n",
            "src/skerry/kinds/hello/engine.py": "from .store import Store\n",
            "src/skerry/kinds/hello/store.py": "",
            "src/skerry/kinds/hello/tests/test_a.py": "import skerry.dead\n",
            "src/skerry/testing/__init__.py": "",
            "src/skerry/testing/proxy.py": "",
            "tests/a/test_b.py": "from skerry.testing.proxy import Proxy\nimport skerry.dead\n",
        },
    )
    assert dead_modules(root) == ["skerry.dead"]


def test_an_undocumented_error_is_caught(tmp_path: Path) -> None:
    code = "A = Problem('GONE', 410, 'x')\nB = errors.Problem('HERE', 200, 'x')\n"
    root = write(tmp_path, {"src/skerry/a.py": code, "docs/reference/errors.md": "## HERE\nGONE\n"})
    assert undocumented_errors(root) == ["GONE"]


def test_a_long_page_is_caught(tmp_path: Path) -> None:
    root = write(tmp_path, {"README.md": "x\n" * 151, "ARCHITECTURE.md": "x\n" * 300})
    assert long_pages(root) == ["README.md has 151 lines, at most 150"]
