"""Uploads: nothing is written outside, everything is bounded, and bad ones leave nothing behind."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from skerry.kernel.clock import SystemEntropy
from skerry.kernel.errors import DISK_FULL, INVALID, NOT_FOUND, TOO_LARGE, SkerryError
from skerry.node import archives
from skerry.node.archives import Archives


@pytest.fixture
def spool(tmp_path: Path) -> Archives:
    (tmp_path / "spool").mkdir()
    return Archives(tmp_path / "spool", SystemEntropy())


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


def member(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def tar(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


async def unpacked(spool: Archives, data: bytes) -> Path:
    target = spool.new_directory()
    await spool.unpack(await spool.receive(pieces(data)), target)
    return target


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
async def test_files_folders_and_links_inside(spool: Archives, mode: str) -> None:
    data = tar(
        member("./", type=tarfile.DIRTYPE),
        member("link", type=tarfile.SYMTYPE, linkname="sub/deep.txt"),
        member("sub", type=tarfile.DIRTYPE, mode=0),
        member("sub/deep.txt", b"deep" * 5000, mode=0o600),
        member("sub/up", type=tarfile.SYMTYPE, linkname="../tool"),
        member("tool", b"#!", mode=0o4777),
        mode=mode,
    )
    target = await unpacked(spool, data)
    assert (
        (target / "link").read_bytes() == (target / "sub/deep.txt").read_bytes() == b"deep" * 5000
    )
    assert (target / "sub/up").read_bytes() == b"#!"
    assert (target / "tool").stat().st_mode & 0o7777 & ~0o022 == 0o755
    assert (target / "sub/deep.txt").stat().st_mode & 0o7111 == 0


def upwards(spool: Path) -> bytes:
    return tar(
        member("a", type=tarfile.SYMTYPE, linkname="sub"),
        member("sub/b", type=tarfile.SYMTYPE, linkname="../.."),
    )


BAD: dict[str, Callable[[Path], bytes]] = {
    "absolute": lambda spool: tar(member(f"{spool}/evil", b"x")),
    "upwards": lambda spool: tar(member("../evil", b"x")),
    "upwards inside": lambda spool: tar(member("a/../../evil", b"x")),
    "absolute link": lambda spool: tar(member("a", type=tarfile.SYMTYPE, linkname=f"{spool}/evil")),
    "link out": lambda spool: tar(member("a", type=tarfile.SYMTYPE, linkname="../evil")),
    "link over link": upwards,
    "through a link": lambda spool: tar(
        member("a", type=tarfile.SYMTYPE, linkname=".."), member("a/evil", b"x")
    ),
    "link below a link": lambda spool: tar(
        member("d", type=tarfile.SYMTYPE, linkname="."),
        member("d/d2", type=tarfile.SYMTYPE, linkname=".."),
    ),
    "hard link": lambda spool: tar(member("a", type=tarfile.LNKTYPE, linkname="/etc/passwd")),
    "device": lambda spool: tar(member("a", type=tarfile.CHRTYPE, devmajor=1, devminor=3)),
    "block device": lambda spool: tar(member("a", type=tarfile.BLKTYPE, devmajor=7)),
    "pipe": lambda spool: tar(member("a", type=tarfile.FIFOTYPE)),
    "file as folder": lambda spool: tar(member("a", b"x"), member("a/b", b"x")),
    "a name twice": lambda spool: tar(member("a", b"x"), member("./a", b"y")),
    "empty name": lambda spool: tar(member("", b"x")),
    "long name": lambda spool: tar(member("a" * 300, b"x")),
    "truncated": lambda spool: tar(member("a", b"x" * 5000))[:3000],
    "truncated gzip": lambda spool: tar(member("a", os.urandom(5000)), mode="w:gz")[:3000],
    "damaged gzip": lambda spool: (
        tar(member("a", os.urandom(5000)), mode="w:gz")[:2000] + b"x" * 999
    ),
    "damaged xz": lambda spool: tar(member("a", os.urandom(5000)), mode="w:xz")[:2000] + b"x" * 999,
    "garbage": lambda spool: os.urandom(2000),
    "nothing": lambda spool: b"",
}


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_upload_is_refused_and_writes_nothing_outside(
    spool: Archives, tmp_path: Path, what: str
) -> None:
    with pytest.raises(SkerryError) as refused:
        await unpacked(spool, BAD[what](tmp_path / "spool"))
    assert refused.value.problem is INVALID
    assert refused.value.hint
    why = refused.value.why
    assert why.endswith(".")
    assert len(why) < 400
    assert "method" not in why, "how it was read is nobody's concern"
    (target,) = (tmp_path / "spool").iterdir()
    assert target.is_dir(), "the upload is forgotten, and nothing lies beside the folder"
    assert [each.name for each in tmp_path.iterdir()] == ["spool"]


async def test_what_grows_too_large_is_refused(
    spool: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = tar(member("a", bytes(50_000_000)), mode="w:gz")
    assert len(bomb) < 100_000
    monkeypatch.setattr(archives, "UNPACKED_BYTES_MAX", 10_000_000)
    monkeypatch.setattr(archives, "MEMBERS_MAX", 20)
    for data in (bomb, tar(*(member(f"{n}") for n in range(21)))):
        with pytest.raises(SkerryError) as refused:
            await unpacked(spool, data)
        assert refused.value.problem is TOO_LARGE


async def test_an_upload_over_the_limit_leaves_nothing(
    spool: Archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "UPLOAD_BYTES_MAX", 5000)
    with pytest.raises(SkerryError) as refused:
        await spool.receive(pieces(bytes(5001)))
    assert refused.value.problem is TOO_LARGE

    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await spool.receive(broken())
    assert not list((tmp_path / "spool").iterdir())


async def test_a_full_disk_is_told(spool: Archives, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    upload = await spool.receive(pieces(tar(member("a", b"x"))))
    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(SkerryError) as refused:
        await spool.unpack(upload, spool.new_directory())
    assert refused.value.problem is DISK_FULL


async def test_packed_is_sent_once(spool: Archives, tmp_path: Path) -> None:
    source = spool.new_directory()
    (source / "a").mkdir()
    (source / "a" / "b").write_bytes(b"x" * 600_000)
    download = await spool.pack(source)
    assert not source.exists()
    data = b"".join([chunk async for chunk in spool.send(download)])
    assert (await unpacked(spool, data) / "a" / "b").read_bytes() == b"x" * 600_000
    with pytest.raises(SkerryError) as refused:
        await anext(spool.send(download))
    assert refused.value.problem is NOT_FOUND


@pytest.mark.parametrize("name", ["../x", "", "a/b", "..", "x\0"])
async def test_an_id_is_no_path(spool: Archives, tmp_path: Path, name: str) -> None:
    (tmp_path / "x.tar").write_bytes(b"")
    with pytest.raises(SkerryError) as refused:
        await spool.unpack(name, tmp_path)
    assert refused.value.problem is NOT_FOUND
