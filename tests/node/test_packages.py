"""Packages of apps, installed by the real pip from wheels that the tests make themselves."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from skerry.kernel.errors import SkerryError
from skerry.node import packages
from skerry.node.packages import Packages, compile_folder, preloaded
from skerry.node.requirements import Requirements


def make_wheel(folder: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> Path:
    """Write a wheel (PEP 427) with one module."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {each}" for each in requires]
    files = {
        f"{module}/__init__.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record.append(f"{path},sha256={digest.decode()},{len(text)}")
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]) + "\n"
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all that pip can see."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip"))
    return folder


def sink(line: str) -> None:
    assert line


async def test_packages_are_installed_once_and_linked(tmp_path: Path, index: Path) -> None:
    make_wheel(index, "tide-table", "1.5")
    make_wheel(index, "harbour", "2.0", ("tide-table>=1",))
    one = Packages(tmp_path / "cache", {})
    lines: list[str] = []
    required = Requirements(("harbour",))
    target = await one.install(required, tmp_path / "1" / "packages", lines.append)
    assert any("Installing collected packages" in line for line in lines)
    code = "import harbour, tide_table; print(harbour.VERSION, tide_table.VERSION)"
    shown = subprocess.run(
        [sys.executable, "-B", "-c", code],
        env={"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "2.0 1.5\n"
    assert list((target / "harbour" / "__pycache__").glob("*.pyc"))
    lock = next((tmp_path / "cache").glob("*/requirements.lock"))
    assert lock.read_text() == "harbour==2.0\ntide-table==1.5\n"

    make_wheel(index, "harbour", "3.0")
    lines.clear()
    again = await one.install(required, tmp_path / "2" / "packages", lines.append)
    assert lines == ["The packages are installed already."]
    files = [Path("harbour/__init__.py"), Path("tide_table/__init__.py")]
    assert all((again / each).samefile(target / each) for each in files)
    assert (target / files[0]).stat().st_mode & 0o777 == 0o644


async def test_two_deploys_at_once_install_once(tmp_path: Path, index: Path) -> None:
    make_wheel(index, "harbour", "2.0")
    shared = Packages(tmp_path / "cache", {})
    lines: list[str] = []
    required = Requirements(("harbour",))
    await asyncio.gather(
        *(shared.install(required, tmp_path / name, lines.append) for name in ("1", "2"))
    )
    assert lines.count("The packages are installed already.") == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1


async def test_what_is_in_memory_decides_the_version(tmp_path: Path, index: Path) -> None:
    for version in ("1.0", "2.0"):
        make_wheel(index, "harbour", version)
    here = Packages(tmp_path / "cache", {"harbour": "1.0"})
    target = await here.install(Requirements(("harbour",)), tmp_path / "1", sink)
    assert (target / "harbour" / "__init__.py").read_text() == "VERSION = '1.0'\n"


async def test_a_pin_that_clashes_is_refused_before_anything_runs(tmp_path: Path) -> None:
    here = Packages(tmp_path / "cache", {"harbour": "1.0"})
    message = "requires Harbour 2.0, but this node has Harbour 1.0 in memory"
    with pytest.raises(SkerryError, match=message) as caught:
        await here.install(Requirements(("Harbour==2.0",)), tmp_path / "1", sink)
    assert caught.value.code == "CONFIG_INVALID"
    assert not (tmp_path / "cache").exists()


async def test_a_clash_further_down_is_refused(tmp_path: Path, index: Path) -> None:
    for version in ("1.0", "2.0"):
        make_wheel(index, "tide-table", version)
    make_wheel(index, "harbour", "1", ("tide-table>=2",))
    here = Packages(tmp_path / "cache", {"tide-table": "1.0"})
    with pytest.raises(SkerryError, match="could not be installed") as caught:
        await here.install(Requirements(("harbour",)), tmp_path / "1", sink)
    assert "tide-table==1.0" in caught.value.why
    assert "open: they are this node's" in caught.value.hint
    assert list((tmp_path / "cache").iterdir()) == []
    assert not (tmp_path / "1").exists()


async def test_hashes_are_required_of_all_once_there_is_one(tmp_path: Path, index: Path) -> None:
    wheel = make_wheel(index, "harbour", "1.0")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    here = Packages(tmp_path / "cache", {"harbour": "1.0", "other": "1"})
    good = Requirements((f"harbour==1.0 --hash=sha256:{digest}",))
    assert (await here.install(good, tmp_path / "1", sink) / "harbour").is_dir()
    bad = Requirements((f"harbour==1.0 --hash=sha256:{'0' * 64}",))
    with pytest.raises(SkerryError, match="could not be installed") as caught:
        await here.install(bad, tmp_path / "2", sink)
    assert "DO NOT MATCH THE HASHES" in caught.value.why


async def test_a_hashed_file_that_clashes_is_refused(tmp_path: Path, index: Path) -> None:
    wheels = [make_wheel(index, "harbour", "1.0", ("tide>=2",)), make_wheel(index, "tide", "2.0")]
    hashes = [hashlib.sha256(each.read_bytes()).hexdigest() for each in wheels]
    here = Packages(tmp_path / "cache", {"tide": "1.0"})
    lines = (
        f"harbour==1.0 --hash=sha256:{hashes[0]}",
        f"tide==2.0 ; python_version > '3' --hash=sha256:{hashes[1]}",
    )
    with pytest.raises(SkerryError, match=r"requires tide 2\.0, but this node has tide 1\.0"):
        await here.install(Requirements(lines), tmp_path / "1", sink)
    assert list((tmp_path / "cache").iterdir()) == []


async def test_nothing_is_built_or_run(tmp_path: Path, index: Path) -> None:
    """A wheel may lead to a source tree by URL; building it would run its code."""
    source = tmp_path / "evil"
    source.mkdir()
    ran = tmp_path / "ran"
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (source / "backend.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    make_wheel(index, "harbour", "1.0", (f"evil @ {source.as_uri()}",))
    here = Packages(tmp_path / "cache", {})
    with pytest.raises(SkerryError, match="could not be installed"):
        await here.install(Requirements(("harbour",)), tmp_path / "1", sink)
    assert not ran.exists()


async def test_a_package_that_is_not_there(tmp_path: Path, index: Path) -> None:
    here = Packages(tmp_path / "cache", {})
    with pytest.raises(SkerryError, match="could not be installed") as caught:
        await here.install(Requirements(("nothing-like-this",)), tmp_path / "1", sink)
    assert "No matching distribution found for nothing-like-this" in caught.value.why


async def test_children_have_a_time_limit(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "INSTALL_SECONDS", 0.01)
    with pytest.raises(SkerryError, match="took longer than"):
        await Packages(tmp_path / "cache", {}).install(Requirements(("a",)), tmp_path / "1", sink)


async def test_children_see_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    lines: list[str] = []
    command = [sys.executable, "-c", "import os; print(sorted(os.environ))"]
    await packages._run(command, tmp_path, 10, lines.append)
    assert "PATH" in lines[0]
    assert "AWS" not in lines[0]
    assert "PYTHONPATH" not in lines[0]


async def test_what_is_in_memory_is_listed() -> None:
    from importlib.metadata import version

    found = await preloaded(["skerry.kinds.functions"])
    assert found["starlette"] == version("starlette")
    assert found["msgspec"] == version("msgspec")
    assert "pytest" not in found
    assert "skerry" not in found


async def test_folders_are_compiled(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text("raise SystemExit('never run')\n")
    assert await compile_folder(tmp_path) == []
    assert list((tmp_path / "__pycache__").glob("good.*.pyc"))
    (tmp_path / "bad.py").write_text("def (\n")
    problems = await compile_folder(tmp_path)
    assert "SyntaxError: invalid syntax" in "\n".join(problems)
