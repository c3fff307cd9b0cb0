"""The catalogue: what is imported, what is refused, and what a hostile archive cannot do."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.node.workload.scene import need, program, run_to_end, said

from skerry.kernel.clock import SystemClock, SystemEntropy
from skerry.kernel.errors import SkerryError
from skerry.node.workload.images import Images, full_name
from skerry.node.workload.importing import Importer
from skerry.node.workload.supervisor import Workloads
from skerry.node.workload.unpacking import Unpacker, inside
from skerry.testing.nodes import open_directory

HELLO = """
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "hello\\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 8))
    (i32.store (i32.const 4) (i32.const 6))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))))
"""


class Rootfs:
    """An archive of a root file system, member by member."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._archive = tarfile.TarFile(fileobj=self._buffer, mode="w")

    def file(self, name: str, text: str = "", mode: int = 0o644) -> Rootfs:
        data = text.encode()
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), mode
        self._archive.addfile(info, io.BytesIO(data))
        return self

    def other(self, name: str, kind: bytes, link: str = "") -> Rootfs:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.mode = kind, link, 0o755
        self._archive.addfile(info)
        return self

    def bytes(self) -> bytes:
        self._archive.close()
        return self._buffer.getvalue()


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.fixture
def images() -> Iterator[Images]:
    with open_directory() as made:
        found = Images(made / "images", SystemEntropy())
        found.open()
        yield found


@pytest.fixture
def importer(images: Images) -> Importer:
    return Importer(images, SystemClock())


def put(importer: Importer, tmp_path: Path, name: str, data: bytes) -> Any:
    path = tmp_path / "archive"
    path.write_bytes(data)
    return importer.archive(name, path)


class TestUnpacking:
    def unpack(self, root: Path, data: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            Unpacker(root).unpack(archive)

    def test_plain(self, tmp_path: Path) -> None:
        self.unpack(
            tmp_path,
            Rootfs()
            .file("bin/sh", "shell", 0o4755)
            .other("lib", tarfile.SYMTYPE, "/usr/lib")
            .file("lib/x.so", "library")
            .other("bin/dash", tarfile.LNKTYPE, "bin/sh")
            .bytes(),
        )
        assert (tmp_path / "usr/lib/x.so").read_text() == "library"
        assert (tmp_path / "lib").readlink() == Path("/usr/lib")
        assert stat.S_IMODE((tmp_path / "bin/sh").stat().st_mode) == 0o755
        assert (tmp_path / "bin/dash").samefile(tmp_path / "bin/sh")

    @pytest.mark.parametrize(
        "archive",
        [
            Rootfs().other("out", tarfile.SYMTYPE, "{outside}").file("out/file", "x"),
            Rootfs().other("a", tarfile.SYMTYPE, "../../..").file("a{outside}/file", "x"),
            Rootfs().file("../file", "x"),
            Rootfs().file("{outside}/file", "x"),
            Rootfs().other("etc", tarfile.SYMTYPE, "{outside}").other("etc", tarfile.DIRTYPE),
            Rootfs().other("link", tarfile.LNKTYPE, "{outside}/secret").file("link", "x"),
            Rootfs().other("l", tarfile.SYMTYPE, "{outside}/secret").file("l", "x"),
        ],
        ids=["absolute", "upwards", "dots", "name", "folder", "hard", "over"],
    )
    def test_nothing_is_written_outside(self, tmp_path: Path, archive: Rootfs) -> None:
        outside, root = tmp_path / "outside", tmp_path / "root"
        outside.mkdir()
        root.mkdir()
        (outside / "secret").write_text("secret")
        before = names_in(outside)
        with contextlib.suppress(SkerryError, tarfile.TarError):
            self.unpack(root, _with(archive, outside))
        assert names_in(outside) == before
        assert (outside / "secret").read_text() == "secret"
        assert names_in(tmp_path) == ["outside", "root"]

    def test_devices_and_pipes_are_left_out(self, tmp_path: Path) -> None:
        data = Rootfs().other("d", tarfile.CHRTYPE).other("p", tarfile.FIFOTYPE).bytes()
        self.unpack(tmp_path, data)
        assert names_in(tmp_path) == []

    def test_a_circle_of_links_ends(self, tmp_path: Path) -> None:
        data = Rootfs().other("a", tarfile.SYMTYPE, "b").other("b", tarfile.SYMTYPE, "a")
        with pytest.raises(SkerryError, match="circle"):
            self.unpack(tmp_path, data.file("a/x", "x").bytes())

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["file", "link", "folder"]),
                st.lists(st.sampled_from(["a", "b", "..", "."]), min_size=1, max_size=3),
                st.lists(st.sampled_from(["a", "b", "..", "", "/"]), min_size=1, max_size=4),
            ),
            max_size=8,
        )
    )
    @settings(max_examples=60, deadline=None)
    def test_no_sequence_leads_out(self, members: list[tuple[str, list[str], list[str]]]) -> None:
        with open_directory() as made:
            root = made / "x" / "root"
            root.mkdir(parents=True)
            archive = Rootfs()
            for kind, name, link in members:
                path = "/".join(name)
                if kind == "file":
                    archive.file(path, "x")
                elif kind == "link":
                    archive.other(path, tarfile.SYMTYPE, "/".join(link) or "/")
                else:
                    archive.other(path, tarfile.DIRTYPE)
            with contextlib.suppress(SkerryError, OSError):
                self.unpack(root, archive.bytes())
            assert names_in(made) == ["x"]
            assert names_in(made / "x") == ["root"]

    def test_names_are_resolved_as_the_image_would(self, tmp_path: Path) -> None:
        (tmp_path / "usr/lib").mkdir(parents=True)
        (tmp_path / "lib").symlink_to("/usr/lib")
        (tmp_path / "up").symlink_to("../../../usr")
        assert inside(tmp_path, PurePosixPath("lib/x")) == tmp_path / "usr/lib/x"
        assert inside(tmp_path, PurePosixPath("up/lib")) == tmp_path / "usr/lib"
        assert inside(tmp_path, PurePosixPath("/../../etc")) == tmp_path / "etc"


def _with(archive: Rootfs, outside: Path) -> bytes:
    """Rebuild an archive with the outside folder's path in its names and links."""
    buffer = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive.bytes())) as source,
        tarfile.open(fileobj=buffer, mode="w") as target,
    ):
        for member in source:
            content = source.extractfile(member) if member.isreg() else None
            member.name = member.name.replace("{outside}", str(outside))
            member.linkname = member.linkname.replace("{outside}", str(outside))
            target.addfile(member, content)
    return buffer.getvalue()


def layout(layers: list[bytes], config: dict[str, Any]) -> bytes:
    """Return an OCI layout in an archive, as `skopeo copy … oci-archive:` writes it."""
    blobs: dict[str, bytes] = {}

    def blob(data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"digest": f"sha256:{digest}", "size": len(data)}

    manifest = {
        "config": blob(json.dumps({"config": config}).encode()),
        "layers": [blob(each) for each in layers],
    }
    index = {"manifests": [blob(json.dumps(manifest).encode())]}
    archive = Rootfs().file("oci-layout", '{"imageLayoutVersion":"1.0.0"}')
    archive.file("index.json", json.dumps(index))
    buffer = archive
    for name, data in blobs.items():
        info = tarfile.TarInfo(name)
        info.size = len(data)
        buffer._archive.addfile(info, io.BytesIO(data))
    return buffer.bytes()


class TestImporting:
    def test_a_root_file_system(self, images: Images, importer: Importer, tmp_path: Path) -> None:
        image = put(importer, tmp_path, "tiny", Rootfs().file("bin/sh", "x").bytes())
        assert (image.name, image.kind) == ("tiny:latest", "rootfs")
        assert images.resolve("tiny") == images.resolve("tiny:latest") == image
        etc = Path(image.rootfs, "etc")
        assert "localhost" in (etc / "hosts").read_text()
        assert ":1000:" in (etc / "passwd").read_text()
        assert (
            image.digest
            == "sha256:" + hashlib.sha256((tmp_path / "archive").read_bytes()).hexdigest()
        )

    def test_layers(self, images: Images, importer: Importer, tmp_path: Path) -> None:
        lower = Rootfs().file("etc/a", "1").file("etc/b", "1").file("opt/x/y", "1").bytes()
        upper = Rootfs().file("etc/.wh.a").file("etc/b", "2").file("opt/x/.wh..wh..opq").bytes()
        config = {
            "Env": ["PATH=/bin", "A=b=c"],
            "Entrypoint": ["/bin/x"],
            "Cmd": ["y"],
            "WorkingDir": "/opt",
            "ExposedPorts": {"80/tcp": {}},
        }
        image = put(importer, tmp_path, "ghcr.io/a/b:1", layout([lower, upper], config))
        root = Path(image.rootfs)
        assert not (root / "etc/a").exists()
        assert (root / "etc/b").read_text() == "2"
        assert list((root / "opt/x").iterdir()) == []
        assert (image.entrypoint, image.command) == (("/bin/x",), ("y",))
        assert (image.env["A"], image.directory, image.ports) == ("b=c", "/opt", (80,))

    def test_what_docker_saves(self, importer: Importer, tmp_path: Path) -> None:
        archive = Rootfs()
        layer = Rootfs().file("bin/sh", "x").bytes()
        info = tarfile.TarInfo("l/layer.tar")
        info.size = len(layer)
        archive._archive.addfile(info, io.BytesIO(layer))
        archive.file("c.json", json.dumps({"config": {"Cmd": ["/bin/sh"]}}))
        archive.file("manifest.json", json.dumps([{"Config": "c.json", "Layers": ["l/layer.tar"]}]))
        image = put(importer, tmp_path, "saved", archive.bytes())
        assert image.command == ("/bin/sh",)
        assert Path(image.rootfs, "bin/sh").read_text() == "x"

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"no archive at all",
            Rootfs().file("readme", "x").bytes(),
            Rootfs().file("manifest.json", "[]").bytes(),
            Rootfs().file("manifest.json", "{").bytes(),
            layout([b"no layer"], {}),
            layout([Rootfs().file("bin/x").bytes()], {}).replace(b"bin/x", b"bin/y"),
        ],
    )
    def test_what_is_none_is_refused_and_leaves_nothing(
        self, images: Images, importer: Importer, tmp_path: Path, data: bytes
    ) -> None:
        with pytest.raises(SkerryError) as caught:
            put(importer, tmp_path, "bad", data)
        assert caught.value.code == "INVALID"
        assert [each.name for each in images.list()] == ["host"]
        assert len(names_in(images.root)) == 1

    def test_names(self, images: Images, importer: Importer, tmp_path: Path) -> None:
        put(importer, tmp_path, "tiny:1", Rootfs().file("bin/sh").bytes())
        for name, code in (("tiny:1", "ALREADY_EXISTS"), ("Tiny", "INVALID"), ("a b", "INVALID")):
            with pytest.raises(SkerryError) as caught:
                put(importer, tmp_path, name, Rootfs().file("bin/sh").bytes())
            assert caught.value.code == code
        with pytest.raises(SkerryError, match="not in this node's catalogue") as caught:
            images.resolve("tiny")
        assert caught.value.code == "NOT_FOUND"
        with pytest.raises(SkerryError):
            importer.archive("x", tmp_path / "nothing")
        assert full_name("localhost:5000/x") == "localhost:5000/x:latest"
        assert full_name("a@sha256:" + "0" * 64) == "a@sha256:" + "0" * 64

    def test_removing(self, images: Images, importer: Importer, tmp_path: Path) -> None:
        put(importer, tmp_path, "tiny", Rootfs().file("bin/sh").bytes())
        with pytest.raises(SkerryError) as caught:
            images.remove("tiny", used=True)
        assert caught.value.code == "CONFLICT"
        images.remove("tiny", used=False)
        with pytest.raises(SkerryError):
            images.remove("tiny", used=False)
        with pytest.raises(SkerryError):
            images.remove("host", used=False)

    def test_half_an_import_is_swept(self, images: Images) -> None:
        (images.new_folder() / "rootfs/x").touch()
        images.open()
        assert len(names_in(images.root)) == 1

    @pytest.mark.parametrize("word", ["-r file", "--index-url=x", "/tmp/x", "git+https://x/y"])
    def test_packages_are_names_alone(self, importer: Importer, word: str) -> None:
        for kind in ({"pip": (word,), "debian": ()}, {"pip": (), "debian": (word,)}):
            with pytest.raises(SkerryError) as caught:
                importer.packages("set", **kind)
            assert caught.value.code == "INVALID"


class TestRunning:
    async def test_a_root_file_system_of_its_own(
        self, workloads: Workloads, tmp_path: Path
    ) -> None:
        """A copy of the shell with its libraries is all that there is."""
        await need(workloads, "bwrap")
        archive = tmp_path / "archive"
        with tarfile.open(archive, "w", dereference=True) as made:
            for path in ("/bin/sh", *_libraries("/bin/sh")):
                made.add(path, arcname=path.lstrip("/"))
        importer = Importer(workloads.images, SystemClock())
        importer.archive("tiny:1", archive)
        for isolation in ("bwrap", "crun"):
            if not {c.name: c.available for c in await workloads.classes()}[isolation]:
                continue
            script = "echo /*; cd /workload; echo x > y; /usr/bin/id"
            spec = program("/bin/sh", "-c", script, image="tiny:1", isolation=isolation)
            info = await run_to_end(workloads, spec, f"t-{isolation}")
            assert info.exit is not None
            assert info.exit.code == 127
            names = set((await said(workloads, f"t-{isolation}"))[0].split())
            assert names <= {
                "/bin", "/lib", "/lib64", "/usr", "/etc", "/dev", "/proc", "/sys", "/tmp",
                "/run", "/workload",
            }  # fmt: skip
        with pytest.raises(SkerryError) as caught:
            await workloads.remove_image("tiny:1")
        assert caught.value.code == "CONFLICT"

    async def test_a_module(self, workloads: Workloads, tmp_path: Path) -> None:
        wasmtime = pytest.importorskip("wasmtime")
        importer = Importer(workloads.images, SystemClock())
        path = tmp_path / "hello.wasm"
        path.write_bytes(wasmtime.wat2wasm(HELLO))
        importer.archive("hello", path)
        spec = program(image="hello", isolation="wasm")
        info = await run_to_end(workloads, spec, "a")
        assert await said(workloads, "a") == ["hello"], await said(workloads, "a", "stderr")
        assert info.exit is not None
        assert info.exit.clean

    async def test_packages_beside_the_machine(
        self, workloads: Workloads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """pip is told to look into a folder, so that no registry is asked."""
        await need(workloads, "bwrap")
        wheel = _wheel(tmp_path)
        monkeypatch.setattr(
            "skerry.node.workload.importing.PIP_OPTIONS",
            ("--no-index", "--find-links", str(wheel.parent)),
        )
        importer = Importer(workloads.images, SystemClock())
        image = importer.packages("tools", ("skerrytool",), ())
        assert image.env["PYTHONPATH"] == "/opt/python"
        if not Path("/usr/bin/python3").exists():
            pytest.skip("the machine's /usr has no Python")
        script = "import skerrytool; print(skerrytool.WORD)"
        spec = program("/usr/bin/python3", "-c", script, image="tools")
        await run_to_end(workloads, spec, "a")
        assert await said(workloads, "a") == ["here"]


def _libraries(program: str) -> list[str]:
    found = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return [word for word in found.split() if word.startswith("/")]


def _wheel(folder: Path) -> Path:
    place = folder / "wheels"
    place.mkdir()
    path = place / "skerrytool-1-py3-none-any.whl"
    info = "skerrytool-1.dist-info"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("skerrytool.py", "WORD = 'here'\n")
        made.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: skerrytool\nVersion: 1\n")
        made.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        made.writestr(f"{info}/RECORD", f"skerrytool.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n")
    return path
