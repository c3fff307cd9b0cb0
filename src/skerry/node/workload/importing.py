"""Importing images: archives of several shapes, packages beside the machine's own, and modules.

Everything comes from the operator: a file, or packages from the registries that the operator set up
for pip or apt. A name of an image never makes the node fetch anything.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.clock import Clock
from skerry.kernel.errors import DISK_FULL, ENGINE_FAILED, EXTRA_MISSING, INVALID, NOT_FOUND
from skerry.node.processes import environment
from skerry.node.workload.classes.base import find_program
from skerry.node.workload.classes.wasm import MODULE, compile_module
from skerry.node.workload.images import HOST, HOST_PATH, Image, Images, host_binds, write_settings
from skerry.node.workload.unpacking import Unpacker

PACKAGES_SECONDS = 900.0
WASM_BYTES_MAX = 256 << 20
LAYERS_MAX = 256
MANIFEST_BYTES_MAX = 4 << 20
PIP_OPTIONS: tuple[str, ...] = ()
"""What pip is told beside; its own configuration says where packages come from."""

PYTHON_SET = "/opt/python"
DEBIAN_SET = "/opt/debian"
_WASM = b"\0asm"
_LAYOUT = "index.json"
_SAVED = "manifest.json"
_INDEXES = frozenset(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class Importer:
    """Puts images into the catalogue. Every method blocks."""

    def __init__(self, images: Images, clock: Clock) -> None:
        self._images = images
        self._clock = clock

    def archive(self, name: str, path: Path) -> Image:
        """Import a file: a root file system as tar, an OCI layout, `docker save`, or a module.

        Raises NOT_FOUND, INVALID, ALREADY_EXISTS, TOO_LARGE, DISK_FULL, EXTRA_MISSING (wasmtime).
        """
        if not path.is_file():
            raise NOT_FOUND(f"There is no file {path} on the node's machine.")
        with self._folder(name) as (full, work), path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            first = file.read(len(_WASM))
            said = {"name": full, "digest": f"sha256:{digest}", "source": path.name}
            image = _module(path, work) if first == _WASM else _root(path, work)
            return self._install(work, msgspec.structs.replace(image, **said))

    def packages(self, name: str, pip: tuple[str, ...], debian: tuple[str, ...]) -> Image:
        """Make an image of the machine's own `/usr` with packages beside it.

        They come from the registries that pip and apt use on this machine. Raises INVALID,
        ENGINE_FAILED (with their last words), ALREADY_EXISTS, DISK_FULL.
        """
        with self._folder(name) as (full, work):
            rootfs = work / "rootfs"
            env = {"PATH": HOST_PATH}
            if pip:
                _install_python(rootfs, pip)
                env["PYTHONPATH"] = PYTHON_SET
                env["PATH"] = f"{PYTHON_SET}/bin:{env['PATH']}"
            if debian:
                _install_debian(rootfs, debian)
                env["PATH"] = f"{DEBIAN_SET}/usr/bin:{DEBIAN_SET}/usr/sbin:{env['PATH']}"
                env["LD_LIBRARY_PATH"] = ":".join(_library_folders(rootfs))
            write_settings(rootfs)
            binds = host_binds(rootfs)
            sources = [f"pip: {' '.join(pip)}"] * bool(pip) + [
                f"Debian: {' '.join(debian)}"
            ] * bool(debian)
            image = Image(
                name=full,
                kind="host",
                rootfs="",
                digest=f"set:{hashlib.sha256(repr((pip, debian)).encode()).hexdigest()}",
                command=("/bin/sh",),
                env=env,
                binds=binds,
                source=f"{HOST} and {', '.join(sources)}",
            )
            return self._install(work, image)

    def _install(self, work: Path, image: Image) -> Image:
        return self._images.install(work, msgspec.structs.replace(image, created=self._clock.now()))

    @contextlib.contextmanager
    def _folder(self, name: str) -> Iterator[tuple[str, Path]]:
        """Give an image's full name and a folder to import into, removed after a failure."""
        full = self._images.check_free(name)
        work = self._images.new_folder()
        try:
            yield full, work
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DISK_FULL("The disk has no room for the image.", why=str(error)) from error
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _module(path: Path, work: Path) -> Image:
    if path.stat().st_size > WASM_BYTES_MAX:
        raise INVALID(f"A module has at most {WASM_BYTES_MAX >> 20} MiB.")
    try:
        code = compile_module(path.read_bytes())
    except ModuleNotFoundError as error:
        raise EXTRA_MISSING(
            "wasmtime is not installed.", hint="pip install 'skerry[workload]'"
        ) from error
    except Exception as error:
        raise INVALID("The file is no WebAssembly module.", why=str(error)[:400]) from error
    target = work / "rootfs" / MODULE
    target.write_bytes(code)
    target.chmod(0o644)
    return Image(name="", kind="wasm", rootfs="")


def _root(path: Path, work: Path) -> Image:
    try:
        with tarfile.open(path) as archive:
            layout = Layout.find(archive)
            unpacker = Unpacker(work / "rootfs")
            if layout is None:
                unpacker.unpack(archive)
                config: dict[str, Any] = {}
            else:
                config = layout.unpack(unpacker)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise INVALID("The file is no archive of an image.", why=str(error)) from error
    rootfs = work / "rootfs"
    if not any((rootfs / each).exists() for each in ("bin", "usr", "lib", "etc", "sbin")):
        raise INVALID(
            f"{path.name} holds no root file system.",
            why="None of /bin, /usr, /lib, /etc and /sbin is in it.",
        )
    write_settings(rootfs)
    return msgspec.structs.replace(Image(name="", kind="rootfs", rootfs=""), **_settings(config))


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an image's configuration says of its program (OCI image-spec, config.md)."""
    inner = config.get("config") or {}
    env = dict(each.partition("=")[::2] for each in inner.get("Env") or [])
    ports = (each.partition("/")[0] for each in inner.get("ExposedPorts") or {})
    return {
        "entrypoint": tuple(inner.get("Entrypoint") or ()),
        "command": tuple(inner.get("Cmd") or ()),
        "env": {"PATH": HOST_PATH, **env},
        "directory": inner.get("WorkingDir") or "/workload",
        "ports": tuple(int(each) for each in ports if each.isdigit()),
    }


class Layout:
    """An archive of layers: an OCI layout (`index.json`), or what `docker save` writes."""

    def __init__(self, archive: tarfile.TarFile, names: dict[str, tarfile.TarInfo]) -> None:
        self._archive = archive
        self._names = names

    @classmethod
    def find(cls, archive: tarfile.TarFile) -> Layout | None:
        """Return the layout that an archive is, None if it is a root file system itself."""
        names = {}
        for member in archive:
            names[member.name.removeprefix("./")] = member
            if len(names) > 4096:
                return None
        has_blobs = any(name.startswith("blobs/") for name in names)
        if (_LAYOUT in names and has_blobs) or _SAVED in names:
            return cls(archive, names)
        return None

    def unpack(self, unpacker: Unpacker) -> dict[str, Any]:
        """Unpack the layers one over another; return the image's configuration."""
        config, layers = self._saved() if _SAVED in self._names else self._indexed()
        if len(layers) > LAYERS_MAX:
            raise INVALID(f"An image has at most {LAYERS_MAX} layers.")
        for name in layers:
            file = self._open(name)
            with file, tarfile.open(fileobj=file) as layer:
                unpacker.unpack(layer)
        return dict(self._json(config))

    def _saved(self) -> tuple[str, list[str]]:
        found = self._json(_SAVED)
        if not isinstance(found, list) or len(found) != 1:
            raise INVALID("The archive must hold exactly one image.")
        return found[0]["Config"], list(found[0]["Layers"])

    def _indexed(self) -> tuple[str, list[str]]:
        chosen = self._choose(self._json(_LAYOUT))
        if chosen.get("mediaType") in _INDEXES:
            chosen = self._choose(self._json(_blob(chosen)))
        manifest = self._json(_blob(chosen))
        return _blob(manifest["config"]), [_blob(each) for each in manifest["layers"]]

    def _choose(self, index: Any) -> dict[str, Any]:
        """Return the image for this machine's processor."""
        machine = _MACHINES.get(os.uname().machine, os.uname().machine)
        found = [
            each
            for each in index["manifests"]
            if (each.get("platform") or {}).get("architecture", machine) in (machine, "")
        ]
        if not found:
            raise INVALID(f"The archive holds no image for {machine}.")
        return dict(found[0])

    def _json(self, name: str) -> Any:
        with self._open(name) as file:
            try:
                return msgspec.json.decode(file.read(MANIFEST_BYTES_MAX))
            except msgspec.DecodeError as error:
                raise INVALID(f"{name} of the archive is not JSON.", why=str(error)) from error

    def _open(self, name: str) -> Any:
        member = self._names.get(name)
        file = self._archive.extractfile(member) if member is not None else None
        if file is None:
            raise INVALID(f"The archive lacks {name}.")
        if name.startswith("blobs/sha256/"):
            _check(file, name.rpartition("/")[2])
        return file


def _check(file: Any, wanted: str) -> None:
    """Compare a blob's digest with its name."""
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    if digest.hexdigest() != wanted:
        raise INVALID(f"The blob {wanted[:16]}… of the archive is damaged.")
    file.seek(0)


def _blob(descriptor: Mapping[str, Any]) -> str:
    algorithm, _, digest = str(descriptor["digest"]).partition(":")
    return f"blobs/{algorithm}/{digest}"


def _install_python(rootfs: Path, requirements: tuple[str, ...]) -> None:
    """Install wheels for the machine's own Python; nothing is built, so nothing of theirs runs."""
    _refuse_options(requirements)
    python = find_program("python3")
    if python is None or not Path(python).resolve().is_relative_to("/usr"):
        python = "/usr/bin/python3"
    if not Path(python).exists():
        raise ENGINE_FAILED(
            "The machine has no Python below /usr, which programs of an image could use.",
            hint="apt-get install -y python3",
        )
    version = _run(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    target = rootfs / PYTHON_SET[1:]
    target.mkdir(parents=True)
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--only-binary", ":all:"]
    where = ["--target", str(target), "--python-version", version]
    _run(sys.executable, "-m", "pip", "install", *options, *PIP_OPTIONS, *where, *requirements)


def _install_debian(rootfs: Path, packages: tuple[str, ...]) -> None:
    """Unpack Debian packages, and those that they need and the machine lacks; no script is run."""
    _refuse_options(packages)
    apt, dpkg = find_program("apt-get"), find_program("dpkg-deb")
    if apt is None or dpkg is None:
        raise ENGINE_FAILED("The machine has no apt-get and dpkg-deb.", why="It is no Debian.")
    store = rootfs.with_name("archives")
    (store / "partial").mkdir(parents=True)
    options = ["-qq", "--yes", "--download-only", "--reinstall", "--no-install-recommends"]
    places = ["-o", f"Dir::Cache::archives={store}", "-o", "Debug::NoLocking=1"]
    _run(apt, "install", *options, *places, "-o", "APT::Sandbox::User=root", *packages)
    target = rootfs / DEBIAN_SET[1:]
    target.mkdir(parents=True)
    found = sorted(store.glob("*.deb"))
    if not found:
        raise ENGINE_FAILED("apt-get downloaded nothing.", why=" ".join(packages))
    for package in found:
        _run(dpkg, "--extract", str(package), str(target))
    shutil.rmtree(store)


def _library_folders(rootfs: Path) -> list[str]:
    top = rootfs / DEBIAN_SET[1:]
    found = {path.parent for path in top.rglob("*.so*") if path.is_file()}
    return sorted(f"/{path.relative_to(rootfs)}" for path in found)[:64]


def _refuse_options(words: tuple[str, ...]) -> None:
    for word in words:
        if word.startswith("-") or "/" in word or "\0" in word or "://" in word:
            raise INVALID(f"{word!r} is no name of a package.", why="No options, paths or URLs.")


def _run(program: str, *arguments: str) -> str:
    """Run a program; raise ENGINE_FAILED with its last words."""
    try:
        done = subprocess.run(
            [program, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=PACKAGES_SECONDS,
            stdin=subprocess.DEVNULL,
            env={
                **environment(),
                "HOME": os.environ.get("HOME", "/"),
                "DEBIAN_FRONTEND": "noninteractive",
            },
        )
    except subprocess.TimeoutExpired as error:
        raise ENGINE_FAILED(f"{Path(program).name} took too long.") from error
    if done.returncode:
        why = (done.stderr or done.stdout).strip()[-400:]
        raise ENGINE_FAILED(f"{Path(program).name} failed.", why=why)
    return done.stdout
