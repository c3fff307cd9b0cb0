"""Requirements files: what is taken, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.kernel.errors import SkerryError
from skerry.node.requirements import Requirements, read_requirements, same_version


def read(folder: Path, text: str, **others: str) -> Requirements:
    (folder / "requirements.txt").write_text(text)
    for name, content in others.items():
        (folder / f"{name}.txt").write_text(content)
    return read_requirements(folder, "requirements.txt")


def test_what_is_taken(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "\ufeff# Comment\n"
        "httpx>=0.27,<1   # why\n"
        "\n"
        "Django[argon2] == 5.2 ; python_version >= '3.11'\n"
        "jinja2\t== 3.1.0\n"
        "numpy \\\n  >= 2\n"
        "skerry==0.1.0\n"
        "zope.interface~=7.0\n",
    )
    assert found.lines == (
        "httpx>=0.27,<1",
        "Django[argon2] == 5.2 ; python_version >= '3.11'",
        "jinja2 == 3.1.0",
        "numpy >= 2",
        "zope.interface~=7.0",
    )
    assert found.pins() == {"jinja2": "3.1.0"}
    assert not found.hashed


def test_hashes(tmp_path: Path) -> None:
    digest = "0" * 64
    many = " ".join(f"--hash=sha256:{digest}" for _ in range(100))
    found = read(tmp_path, f"a==1 \\\n  --hash=sha256:{digest} \\\n  {many}\n")
    assert found.hashed
    assert found.pins() == {"a": "1"}


def test_included_files(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "deep.txt").write_text("-r ../base.txt\nb\n")
    found = read(tmp_path, "-r more/deep.txt\n-cbounds.txt\nc", base="a", bounds="a<2")
    assert found.lines == ("a", "b", "c")
    assert found.constraints == ("a<2",)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("-e .", "Options are set by the node's operator"),
        ("--index-url https://elsewhere.example/", "Options are set by the node's operator"),
        ("--find-links wheels", "Options are set by the node's operator"),
        ("a @ https://elsewhere.example/a.whl", "by URL or path are not installed"),
        ("a@file:///etc/passwd", "by URL or path are not installed"),
        ("git+https://elsewhere.example/a.git", "by URL or path are not installed"),
        ("./wheels/a.whl", "by URL or path are not installed"),
        ("a ; @ https://elsewhere.example", "by URL or path are not installed"),
        ("a==1 --hash=sha256:xyz", "Expected a name and a version"),
        ("a==1 --global-option=x", "Expected a name and a version"),
        ("a ; x --config-settings=y=z", "Expected a name and a version"),
        ("a 1", "Expected a name and a version"),
        ("a" * 600, "Expected a name and a version"),
    ],
)
def test_what_is_refused(tmp_path: Path, line: str, why: str) -> None:
    with pytest.raises(
        SkerryError, match=r"requirements.txt line 2: '.*' cannot be requ"
    ) as caught:
        read(tmp_path, f"httpx\n{line}\n")
    assert caught.value.code == "CONFIG_INVALID"
    assert why in caught.value.why


def test_files_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SkerryError, match="lies outside"):
        read(tmp_path, "-r ../../etc/passwd")
    with pytest.raises(SkerryError, match="included too deeply"):
        read(tmp_path, "-r requirements.txt")
    with pytest.raises(SkerryError, match=r"none\.txt cannot be read: No such file"):
        read(tmp_path, "-r none.txt")
    with pytest.raises(SkerryError, match="larger than"):
        read(tmp_path, "#" * (2 << 20))
    (tmp_path / "requirements.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(SkerryError, match="not UTF-8"):
        read_requirements(tmp_path, "requirements.txt")
    (tmp_path / "link.txt").symlink_to("/etc/hostname")
    with pytest.raises(SkerryError, match="lies outside"):
        read_requirements(tmp_path, "link.txt")


@settings(deadline=None)
@given(st.lists(st.text(max_size=80), max_size=5))
def test_whatever_is_taken_is_a_name(lines: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        try:
            found = read(Path(folder), "\n".join(lines))
        except SkerryError as error:
            assert error.code == "CONFIG_INVALID"
            return
    for line in found.lines:
        assert line[0].isalnum() or line.startswith("--")
        assert "://" not in line


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("1.0", "1", True), ("1.0.0", "1.0", True), ("1.10", "1.1", False), ("v2", "2.0", True)],
)
def test_versions(one: str, other: str, same: bool) -> None:
    assert same_version(one, other) is same
