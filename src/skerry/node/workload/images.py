"""The catalogue of images: what the programs of workloads see as their machine.

Nothing is fetched by name from anywhere: an image is what the operator put into this catalogue, a
root file system in a folder, or the machine's own `/usr` with packages beside it, or one
WebAssembly module.

<home>/images/<digest of the name>/image.json    what it is; written last, so it is whole
                                   rootfs/       what a program sees, read-only
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import msgspec

from skerry.kernel.clock import Entropy
from skerry.kernel.errors import ALREADY_EXISTS, CONFLICT, NOT_FOUND
from skerry.kernel.names import did_you_mean
from skerry.node.home import sync_directory, write_secret
from skerry.node.workload.spec import check_image_name

HOST = "host"
"""The image that every node has: the machine's own programs, read-only."""

LATEST = "latest"
HOST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Image(msgspec.Struct, frozen=True):
    """An image: `kind` is `rootfs`, `host` or `wasm`.

    `rootfs` is its folder. `binds` are paths of the machine that are seen inside, as (there,
    inside). `entrypoint`, `command`, `env` and `directory` are what a program gets unless the
    workload says otherwise. `digest` is of what was imported, `bytes` what it takes on disk, and
    `source` says for people where it came from.
    """

    name: str
    kind: str
    rootfs: str
    digest: str = ""
    bytes: int = 0
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    directory: str = "/workload"
    binds: tuple[tuple[str, str], ...] = ()
    ports: tuple[int, ...] = ()
    source: str = ""
    created: int = 0


class Images:
    """The images of a node."""

    def __init__(self, root: Path, entropy: Entropy) -> None:
        self.root = root
        self._entropy = entropy

    def open(self) -> None:
        """Make the folder, remove what was half imported, and make the host's image anew."""
        self.root.mkdir(mode=0o711, exist_ok=True)
        for each in self.root.iterdir():
            if not (each / "image.json").exists():
                shutil.rmtree(each, ignore_errors=True)
        self.install_host()

    def install_host(self) -> None:
        """Make the image of the machine's own programs, or bring it up to what the machine is now.

        It stays where it is, as programs that run may see it.
        """
        folder = self._folder(HOST)
        rootfs = folder / "rootfs"
        rootfs.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_settings(rootfs)
        image = Image(
            name=HOST,
            kind="host",
            rootfs=str(rootfs),
            command=("/bin/sh",),
            env={"PATH": HOST_PATH},
            binds=host_binds(rootfs),
            source="this machine's /usr, read-only",
        )
        if not (folder / "image.json").exists() or _read(folder) != image:
            write_secret(folder / "image.json", msgspec.json.encode(image))

    def new_folder(self) -> Path:
        """Make a folder to import into; one that never becomes an image is removed at a start."""
        work = self.root / f".{self._entropy.bytes(8).hex()}"
        work.mkdir(mode=0o711)
        (work / "rootfs").mkdir(mode=0o755)
        return work

    def check_free(self, name: str) -> str:
        """Return the full name of an image to be; raise INVALID or ALREADY_EXISTS."""
        name = full_name(check_image_name(name))
        if self._folder(name).exists():
            raise ALREADY_EXISTS(
                f"There is an image {name} already.", hint=f"skerry workload image remove {name}"
            )
        return name

    def install(self, work: Path, image: Image) -> Image:
        """Make an imported folder an image; durable when this returns."""
        folder = self._folder(image.name)
        image = msgspec.structs.replace(
            image, rootfs=str(folder / "rootfs"), bytes=image.bytes or tree_bytes(work)
        )
        os.sync()  # one call for the many files of an image
        write_secret(work / "image.json", msgspec.json.encode(image))
        if folder.exists():
            raise ALREADY_EXISTS(f"There is an image {image.name} already.")
        work.rename(folder)
        sync_directory(self.root)
        return image

    def list(self) -> tuple[Image, ...]:
        """Return all images, by name."""
        found = [_read(each) for each in self.root.iterdir() if (each / "image.json").exists()]
        return tuple(sorted(found, key=lambda image: image.name))

    def resolve(self, name: str) -> Image:
        """Return an image by its name, `latest` if it has no tag. Raises INVALID or NOT_FOUND."""
        folder = self._folder(full_name(check_image_name(name)))
        if not (folder / "image.json").exists():
            raise NOT_FOUND(
                f"{name} is not in this node's catalogue of images.",
                why=did_you_mean(name, [image.name for image in self.list()]),
                hint=f"skerry workload image add {name} --archive <file>",
            )
        return _read(folder)

    def remove(self, name: str, used: bool) -> None:
        """Remove an image that is not used. Raises NOT_FOUND or CONFLICT."""
        image = self.resolve(name)
        if image.name == HOST:
            raise CONFLICT("The host's image is part of every node.")
        if used:
            raise CONFLICT(f"{image.name} is used by workloads.", hint="skerry workload list")
        self._discard(self._folder(image.name))

    def _discard(self, folder: Path) -> None:
        going = folder.with_name(f".{self._entropy.bytes(8).hex()}")
        folder.rename(going)
        (going / "image.json").unlink(missing_ok=True)
        shutil.rmtree(going, ignore_errors=True)

    def _folder(self, name: str) -> Path:
        return self.root / hashlib.sha256(name.encode()).hexdigest()[:24]


def full_name(name: str) -> str:
    """Return an image's name with its tag; the host's has none, a digest stands for itself."""
    last = name.rpartition("/")[2]
    return name if ":" in last or "@" in last or name == HOST else f"{name}:{LATEST}"


def _read(folder: Path) -> Image:
    return msgspec.json.decode((folder / "image.json").read_bytes(), type=Image)


def tree_bytes(folder: Path) -> int:
    """Return what the files below a folder take on disk."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            total += Path(place, name).lstat().st_blocks * 512
    return total


_ACCOUNTS = "root:x:0:0:root:/root:/bin/sh\nskerry:x:1000:1000:Skerry:/workload:/bin/sh\n"
_GROUPS = "root:x:0:\nskerry:x:1000:\n"
_HOSTS = "127.0.0.1 localhost\n::1 localhost\n"
_SWITCH = "passwd: files\ngroup: files\nhosts: files\n"
_SETTINGS = {
    "passwd": _ACCOUNTS,
    "group": _GROUPS,
    "hosts": _HOSTS,
    "nsswitch.conf": _SWITCH,
    "resolv.conf": "",
}
_HOST_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_HOST_SETTINGS = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/ssl/certs", "/etc/localtime")


def write_settings(rootfs: Path) -> None:
    """Write the few settings that programs look for, where an image has none of its own.

    Every workload runs as user 1000; a name for it is added, as many programs want one.
    """
    etc = rootfs / "etc"
    if etc.is_symlink():
        return
    etc.mkdir(mode=0o755, exist_ok=True)
    for name, text in _SETTINGS.items():
        path = etc / name
        if not path.is_symlink() and (not path.exists() or path.stat().st_size == 0):
            path.write_text(text)
            path.chmod(0o644)
    accounts = etc / "passwd"
    if not accounts.is_symlink() and ":1000:" not in accounts.read_text(errors="replace"):
        with accounts.open("a") as file:
            file.write(_ACCOUNTS.splitlines()[1] + "\n")


def host_binds(rootfs: Path) -> tuple[tuple[str, str], ...]:
    """Make places for what is seen of the machine, and links as it has them; return the binds."""
    binds = [("/usr", "/usr")]
    (rootfs / "usr").mkdir(exist_ok=True)
    for text in _HOST_FOLDERS:
        path, inside = Path(text), rootfs / text[1:]
        if path.is_symlink() and not inside.is_symlink():
            inside.symlink_to(path.readlink())
        elif path.is_dir() and not path.is_symlink():
            inside.mkdir(exist_ok=True)
            binds.append((text, text))
    for text in _HOST_SETTINGS:
        path, inside = Path(text).resolve(), rootfs / text[1:]
        if not path.exists():
            continue
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.mkdir(exist_ok=True) if path.is_dir() else inside.touch()
        binds.append((str(path), text))
    return tuple(binds)
