"""The lock files hold everything that is installed, by hash, and name no place to get it from."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "dev.lock"
UP = ROOT / "requirements" / "up.lock"
CLIENTS = ROOT / "tests" / "clients"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def pins(lock: str) -> dict[str, list[str]]:
    """Return the locked versions of every package."""
    found: dict[str, list[str]] = {}
    for name, version in PIN.findall(lock):
        found.setdefault(canonicalize_name(name), []).append(version)
    return found


def requirements(project: dict[str, Any]) -> Iterator[Requirement]:
    """Yield what pyproject.toml asks for, extras and the build included."""
    extras = project["project"].get("optional-dependencies", {}).values()
    groups = [project["project"]["dependencies"], project["build-system"]["requires"], *extras]
    for group in groups:
        yield from (Requirement(line) for line in group)


def unlocked(project: dict[str, Any], lock: str) -> list[str]:
    """Find requirements that no pin satisfies."""
    locked = pins(lock)
    return [
        str(requirement)
        for requirement in requirements(project)
        if canonicalize_name(requirement.name) != "skerry"
        and not any(
            requirement.specifier.contains(version, prereleases=True)
            for version in locked.get(canonicalize_name(requirement.name), [])
        )
    ]


def flaws(lock: str) -> list[str]:
    """Find lines that are not a pin with its hashes."""
    entries = re.sub(r"\\\n", " ", lock).splitlines()
    return [
        entry.strip()
        for entry in entries
        if entry.strip() and not (PIN.match(entry) and "--hash=sha256:" in entry)
    ]


def unpinned(lock: dict[str, Any]) -> list[str]:
    """Find npm packages without a hash, or with the address of a registry."""
    return [
        name
        for name, entry in lock["packages"].items()
        if name and ("resolved" in entry or not entry.get("integrity"))
    ]


def test_every_requirement_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert not unlocked(project, LOCK.read_text()), "run: python3 dev.py lock"


def test_locks_are_pins_and_hashes() -> None:
    locks = sorted((ROOT / "requirements").rglob("*.lock"))
    assert {LOCK, UP} < set(locks)
    assert not {lock.name: found for lock in locks if (found := flaws(lock.read_text()))}


def test_what_runs_is_what_is_tested() -> None:
    tested, runs = pins(LOCK.read_text()), pins(UP.read_text())
    assert {name: tested.get(name) for name in runs} == runs
    assert "pytest" not in runs


def test_npm_packages_are_locked() -> None:
    assert not unpinned(json.loads((CLIENTS / "package-lock.json").read_text()))
    wanted = json.loads((CLIENTS / "package.json").read_text())["dependencies"]
    assert all(
        re.fullmatch(r"\d+\.\d+\.\d+(-[a-z]+\.\d+)?", version) for version in wanted.values()
    )


def test_flaws_are_caught() -> None:
    project = {
        "build-system": {"requires": ["builder==1.0"]},
        "project": {"dependencies": ["a>=2"], "optional-dependencies": {"x": ["B_b", "skerry[y]"]}},
    }
    lock = "a==1.0 \\\n    --hash=sha256:00\nbuilder==1.0\n--index-url https://example.org\n"
    assert unlocked(project, lock) == ["a>=2", "B_b"]
    assert flaws(lock) == ["builder==1.0", "--index-url https://example.org"]


@pytest.mark.parametrize("entry", [{"version": "1.0.0"}, {"integrity": "x", "resolved": "y"}])
def test_flaws_of_npm_packages_are_caught(entry: dict[str, str]) -> None:
    assert unpinned({"packages": {"": {}, "a": {"integrity": "x"}, "b": entry}}) == ["b"]
