"""Every dependency that we ship with may be linked, and is named in NOTICE."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BlueOak-1.0.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "PSF-2.0",
    "PostgreSQL",
    "Unlicense",
    "Zlib",
}
# What packages without an SPDX expression say, and what it means.
SPOKEN = {
    "any-OSI": "MIT OR Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "PostgreSQL License": "PostgreSQL",
    "Python Software Foundation License": "PSF-2.0",
}


# How the text of a licence begins, for packages whose metadata name none.
BEGUN = {
    "Apache License Version 2.0": "Apache-2.0",
    "MIT License": "MIT",
    "The MIT License (MIT)": "MIT",
}


def shipped(root: str = "skerry", extras: frozenset[str] = frozenset({"all"})) -> dict[str, str]:
    """Return the licence of everything that `pip install skerry[all]` installs here."""
    found: dict[str, str] = {}
    waiting = [(root, extras)]
    seen = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        try:
            package = distribution(name)
        except PackageNotFoundError:
            found[name] = "not installed"
            continue
        found[canonicalize_name(name)] = licence(package)
        for line in package.requires or []:
            requirement = Requirement(line)
            marker = requirement.marker
            options = wanted or frozenset({""})
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in options):
                waiting.append((requirement.name, frozenset(requirement.extras)))
    del found[root]
    return found


def licence(package: Distribution) -> str:
    """Return a package's licence as an SPDX expression, or as it words it."""
    meta = package.metadata
    if "License-Expression" in meta:
        return meta["License-Expression"]
    lines = meta.get_all("Classifier", [])
    named = [line.split(" :: ")[-1] for line in lines if line.startswith("License ::")]
    if not named and "License" in meta:
        named = [meta["License"].splitlines()[0]]
    return " OR ".join(SPOKEN.get(name, name) for name in named) or licence_of_files(package)


def licence_of_files(package: Distribution) -> str:
    """Return the licence whose text a package carries."""
    for file in package.files or []:
        if ".dist-info/licenses/" in str(file):
            text = " ".join(file.read_text().split())
            for begin, expression in BEGUN.items():
                if text.startswith(begin):
                    return expression
    return "unknown"


def is_allowed(expression: str) -> bool:
    """Tell whether an SPDX expression leaves us a licence that we may link."""
    operators = {"(": "(", ")": ")", "AND": "and", "OR": "or"}
    words = re.findall(r"[()]|[^\s()]+", re.sub(r" WITH \S+", "", expression))
    terms = [operators.get(word, str(word in ALLOWED)) for word in words]
    return bool(terms) and bool(eval(" ".join(terms)))  # of True, False, and, or and brackets


def vendored(root: Path) -> list[Path]:
    """Return every file of others that lies in the source tree."""
    return [path for path in (root / "src").rglob("vendor/**/*") if path.is_file()]


def unnamed(root: Path, packages: list[str]) -> list[str]:
    """Find packages and vendored files that NOTICE does not name."""
    notice = (root / "NOTICE").read_text().lower()
    words = set(re.findall(r"[a-z0-9][a-z0-9._-]*[a-z0-9]", notice))
    files = [path.name for path in vendored(root) if path.suffix in {".js", ".css", ".woff2"}]
    return [name for name in [*packages, *files] if name.lower() not in words]


def test_dependencies_may_be_linked() -> None:
    found = shipped()
    assert {"click", "msgspec", "apsw"} <= set(found)
    assert not {name: words for name, words in found.items() if not is_allowed(words)}


def test_notice_names_what_is_shipped() -> None:
    assert not unnamed(ROOT, sorted(shipped()))


@pytest.mark.parametrize("words", ["GPL-3.0-only", "(MIT OR ISC) AND AGPL-3.0-only", ""])
def test_other_licences_are_caught(words: str) -> None:
    assert not is_allowed(words)


@pytest.mark.parametrize("words", ["MIT", "GPL-2.0-only OR (MIT AND ISC)", "Apache-2.0 WITH x"])
def test_our_licences_are_allowed(words: str) -> None:
    assert is_allowed(words)


def test_what_notice_forgets_is_caught(tmp_path: Path) -> None:
    (tmp_path / "NOTICE").write_text("- click, BSD-3-Clause\n- htmx.min.js\n")
    for name in ("htmx.min.js", "other.js"):
        path = tmp_path / "src" / "skerry" / "vendor" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert unnamed(tmp_path, ["click", "uvloop"]) == ["uvloop", "other.js"]
