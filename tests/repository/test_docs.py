"""What the pages promise: links lead somewhere, and every command that they show exists."""

from __future__ import annotations

import ast
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skerry.app import kinds
from skerry.kernel.manifest import Manifest

ROOT = Path(__file__).resolve().parents[2]
EXCLUDED = {"node_modules", "vendor", "dist"}
FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)(?: \"[^\"]*\")?\)")
SEPARATORS = {"|", "||", "&&", ";", "&"}
PLACEHOLDER = re.compile(r"<[^<>]+>|…")
COMMAND = re.compile(r"(?:^|: |\bor |\bRun )skerry ((?:[^,;(|.]|\.(?! |$))+)")
"""A command in a hint: at its beginning, or after words that lead to it."""

INLINE = re.compile(r"`skerry ([^`|]+)`")
IMAGINED = {"tide", "tally"}
"""What pages make up, to show how a kind or a service is written."""


def pages(root: Path) -> Iterator[Path]:
    """Yield every Markdown page that people wrote or that is generated for them."""
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name not in EXCLUDED and name[0] != "."]
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".md"))


# ---- links ------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, spelt as renderers of Markdown spell them."""
    prose = FENCE.sub("", text)
    titles = re.findall(r"^#+ +(.+?) *#*$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def dead_links(root: Path) -> list[str]:
    """Find relative links to files or headings that are not there."""
    dead = []
    for page in pages(root):
        for link in LINK.findall(FENCE.sub("", page.read_text())):
            target, _, anchor = link.partition("#")
            if re.match(r"[a-z][a-z0-9+.-]*:", link) or target.startswith("/"):
                continue
            path = page.parent / target if target else page
            lost = anchor and path.suffix == ".md" and path.is_file()
            if not path.exists() or (lost and anchor not in anchors(path.read_text())):
                dead.append(f"{page.relative_to(root)}: {link}")
    return dead


def test_links_lead_somewhere() -> None:
    assert not dead_links(ROOT)


def test_dead_links_are_caught(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "# A title, `x`\n[1](b.md) [2](#a-title-x) [3](c.md) [4](b.md#none) [5](b.md#here)\n"
        "[6](https://example.org) ![7](none.png)\n```\n[8](not-a-link)\n```\n"
    )
    (tmp_path / "b.md").write_text("## Here\n")
    assert dead_links(tmp_path) == ["a.md: c.md", "a.md: b.md#none", "a.md: none.png"]


# ---- commands ---------------------------------------------------------------------------------


def shell_lines(page: str) -> Iterator[str]:
    """Yield the commands of a page: lines of bash and sh blocks, prompts of console blocks."""
    for language, block in FENCE.findall(page):
        lines = re.sub(r"\\\n", " ", block).splitlines()
        if language in {"bash", "sh", "shell"}:
            yield from (line.strip() for line in lines if line.strip())
        if language == "console":
            yield from (line.strip()[2:] for line in lines if line.strip().startswith(("$ ", "# ")))


def simple_commands(line: str) -> Iterator[list[str]]:
    """Split a shell line into its simple commands, each a list of words."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word in SEPARATORS:
            yield words
            words = []
        else:
            words.append(word)
    yield words


def inline_commands_of(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield every `skerry` command that stands in the text of pages."""
    for page in pages(root):
        for command in INLINE.findall(FENCE.sub("", page.read_text())):
            words = PLACEHOLDER.sub("VARIABLE", command.replace("[", "").replace("]", "")).split()
            if words[0] not in IMAGINED:
                yield f"{page.relative_to(root)}: {command}", words


def commands_of(root: Path, program: str) -> Iterator[tuple[str, list[str]]]:
    """Yield every command of pages that starts with `program`, with the place where it stands."""
    for page in pages(root):
        for line in shell_lines(page.read_text()):
            for words in simple_commands(line):
                if words[: len(program.split())] == program.split():
                    yield f"{page.relative_to(root)}: {line}", words[len(program.split()) :]


def hints_of(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield every `skerry` command in hints of errors, wherever it stands in its hint."""
    for path in sorted((root / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            for value in hints_in(node):
                text = PLACEHOLDER.sub("VARIABLE", "".join(constant_parts(value)))
                for command in COMMAND.findall(text):
                    yield f"{path.relative_to(root)}:{value.lineno}", command.split()


def hints_in(node: ast.AST) -> Iterator[ast.expr]:
    """Yield what a node gives as a hint: an argument, or a value that is named so."""
    given: ast.expr | None = None
    if isinstance(node, ast.keyword) and node.arg == "hint":
        given = node.value
    elif isinstance(node, ast.Assign):
        names = [each.id for each in node.targets if isinstance(each, ast.Name)]
        given = node.value if any(each.lower().endswith("hint") for each in names) else None
    if isinstance(given, ast.IfExp):
        yield from (given.body, given.orelse)
    elif isinstance(given, ast.BoolOp):
        yield from given.values
    elif given is not None:
        yield given


def constant_parts(node: ast.expr) -> Iterator[str]:
    """Yield a string's text, with a word in place of each of its variables."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for part in node.values if isinstance(node, ast.JoinedStr) else []:
        yield str(part.value) if isinstance(part, ast.Constant) else "VARIABLE"


def unknown_command(tree: dict[str, Any], words: list[str]) -> str:
    """Return what of a command line the tree of commands does not have, or ''.

    The tree is what `skerry describe --json` prints: `commands` maps the name of a command to its
    own tree, and `options` lists the names of its options.
    """
    node, options = tree, {"--help", "--json", *tree.get("options", [])}
    for word in itertools.takewhile(lambda each: each != "--", words):
        if word.startswith("-"):
            name = word.partition("=")[0]
            if node.get("options") is not None and name not in options:
                return name
            continue
        children = node.get("commands") or {}
        if not children:
            continue
        if word not in children:
            known_later = word == "VARIABLE" or (node is not tree and not word.islower())
            return "" if known_later else word
        node = children[word]
        options |= set(node.get("options") or [])
    return ""


def describe() -> dict[str, Any]:
    """Ask the CLI for its commands; skip, loudly, while there is no CLI that can tell."""
    program = Path(sys.executable).with_name("skerry")
    done = subprocess.run(
        [program, "describe", "--json"], check=False, capture_output=True, text=True, timeout=60
    )
    if done.returncode and not (ROOT / "src" / "skerry" / "__main__.py").exists():
        pytest.skip("NO COMMAND IN THE DOCS IS CHECKED: there is no CLI yet")
    assert done.returncode == 0, done.stderr
    described: dict[str, Any] = json.loads(done.stdout)
    return described


def test_commands_of_the_docs_exist() -> None:
    tree = describe()
    shown = [*commands_of(ROOT, "skerry"), *inline_commands_of(ROOT), *hints_of(ROOT)]
    unknown = [(place, unknown_command(tree, words)) for place, words in shown]
    assert not [(place, what) for place, what in unknown if what]


def test_commands_of_the_developers_script_exist() -> None:
    found = list(commands_of(ROOT, "python3 dev.py"))
    assert found, "the docs do not say how to start"
    known = re.findall(r'add_parser\("(\w+)"', (ROOT / "dev.py").read_text())
    assert not [place for place, words in found if words and words[0] not in known]


def test_shell_blocks_parse() -> None:
    for page in pages(ROOT):
        script = "\n".join(shell_lines(page.read_text()))
        done = subprocess.run(
            ["bash", "-n"], check=False, input=script, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, f"{page}: {done.stderr}"


TREE = {
    "options": ["--version"],
    "commands": {
        "up": {"options": ["--port"]},
        "branch": {"options": [], "commands": {"create": {"options": ["--at"]}}},
    },
}


@pytest.mark.parametrize(
    ("line", "unknown"),
    [
        ("up --port 1 newsroom", ""),
        ("branch create pr-42 --at=now --json", ""),
        ("up newsroom -- sh -c prot", ""),
        ("--version", ""),
        ("down", "down"),
        ("up --prot 1", "--prot"),
        ("branch crate pr-42", "crate"),
    ],
)
def test_unknown_commands_are_caught(line: str, unknown: str) -> None:
    assert unknown_command(TREE, line.split()) == unknown


def test_commands_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "```console\n$ cd x && skerry up\nskerry printed this\n```\n"
        "```bash\nskerry branch \\\n  create pr-1 | cat  # why\n```\n```python\nskerry no\n```\n"
        "Run `skerry place <app> --to …`, not `echo`.\n"
    )
    source = tmp_path / "src" / "a.py"
    source.parent.mkdir()
    source.write_text(
        "GONE('x', hint=f'skerry branch list {app}')\nGONE('y', hint='wait')\n"
        "hint = 'Deploy again, or skerry rollback.' if old else f'Ask: skerry --node <url> up'\n"
    )
    shown = [words for _, words in commands_of(tmp_path, "skerry")]
    assert shown == [["up"], ["branch", "create", "pr-1"]]
    inline = [words for _, words in inline_commands_of(tmp_path)]
    assert inline == [["place", "VARIABLE", "--to", "VARIABLE"]]
    assert sorted(words for _, words in hints_of(tmp_path)) == [
        ["--node", "VARIABLE", "up"],
        ["branch", "list", "VARIABLE"],
        ["rollback"],
    ]


# ---- clients ----------------------------------------------------------------------------------

COMPATIBILITY = ROOT / "docs" / "reference" / "compatibility.md"
NOT_TRIED = "not yet"


def table(page: str, heading: str) -> list[list[str]]:
    """Return the rows of the table whose first row is `heading`."""
    _, _, below = page.partition(f"{heading}\n")
    lines = itertools.takewhile(lambda line: line.startswith("|"), below.splitlines()[1:])
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]


def clients_of(page: str) -> dict[tuple[str, str, str], str]:
    """Return what tries each (kind, client, language), as the page of compatibility says."""
    rows = table(page, "| kind | client | language | tried by |")
    return {(kind, client, language): tried for kind, client, language, tried in rows}


def unproven(page: Path) -> list[str]:
    """Find clients that are said to be tried by a file that does not name them."""
    found = []
    for (_, client, _), tried in clients_of(page.read_text()).items():
        if tried == NOT_TRIED:
            continue
        link = LINK.search(tried)
        path = page.parent / link[1] if link else None
        word = client.partition(" ")[0].lower()
        if path is None or not path.is_file() or word not in path.read_text().lower():
            found.append(f"{client}: {tried}")
    return found


def installed() -> list[Manifest]:
    """Return the kinds that a user meets; the template stands in for nothing."""
    return [each for each in kinds().values() if not each.stands_in_for.startswith("nothing")]


def test_compatibility_names_the_clients_of_the_manifests() -> None:
    declared = {
        (manifest.name, client.name, client.language)
        for manifest in installed()
        for wire in manifest.wires
        for client in wire.clients
    }
    assert set(clients_of(COMPATIBILITY.read_text())) == declared


def test_clients_are_tried_where_compatibility_says() -> None:
    assert not unproven(COMPATIBILITY)


def test_readme_shows_the_kinds_as_they_are() -> None:
    tried: dict[str, list[str]] = {}
    for (kind, client, _), by in clients_of(COMPATIBILITY.read_text()).items():
        name = client.partition(" (")[0]
        if by != NOT_TRIED and name not in tried.setdefault(kind, []):
            tried[kind].append(name)
    rows = table(
        (ROOT / "README.md").read_text(), "| kind | stands in for | official clients tried |"
    )
    shown = {kind: (peers, clients) for kind, peers, clients in rows}
    assert shown == {
        each.name: (each.stands_in_for, ", ".join(tried.get(each.name, []))) for each in installed()
    }


def test_the_readme_starts_at_once() -> None:
    above, _, _ = (ROOT / "README.md").read_text().partition("$ python3 dev.py up")
    assert above.count("\n") < 20


def test_unproven_clients_are_caught(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("import boto3\n")
    page = tmp_path / "page.md"
    rows = ["a | boto3 | Python | [x](test_a.py)", "a | psql | shell | [x](test_a.py)"]
    rows += ["b | boto3 | Python | [x](none.py)", "b | curl | shell | not yet"]
    heading = ["| kind | client | language | tried by |", "| --- | --- | --- | --- |"]
    page.write_text("\n".join([*heading, *(f"| {row} |" for row in rows), "", "| x |"]))
    assert unproven(page) == ["psql: [x](test_a.py)", "boto3: [x](none.py)"]
