"""An OCI bundle: how container runtimes are told what to run (OCI runtime specification 1.0)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec

from skerry.node.workload.classes.base import INSIDE_ID, Place, Program
from skerry.node.workload.classes.view import MASKED, View, view
from skerry.node.workload.order import Order

_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def write_bundle(order: Order, place: Place, namespaces: tuple[str, ...], **linux: Any) -> Path:
    """Write a bundle anew and return its folder; only the workload's user may read it.

    The root folder is made of links and places to mount at; `linux` is added to the section of
    that name.
    """
    bundle = place.bundle
    shutil.rmtree(bundle, ignore_errors=True)
    bundle.mkdir(mode=0o700)
    seen = view(order.spec, order.image, place)
    _make_root(bundle / "rootfs", seen)
    config = _config(order, seen, place) | {
        "linux": {
            "namespaces": [{"type": each} for each in namespaces],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(_READ_ONLY),
            **linux,
        }
    }
    path = bundle / "config.json"
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(config))
    return bundle


def own(path: Path, uid: int | None) -> None:
    """Give a folder and all that is in it to a user."""
    if uid is None:
        return
    os.chown(path, uid, uid)
    for place, folders, files in os.walk(path):
        for name in (*folders, *files):
            os.chown(Path(place, name), uid, uid, follow_symlinks=False)


def _config(order: Order, seen: View, place: Place) -> dict[str, Any]:
    return {
        "ociVersion": "1.0.0",
        "hostname": order.name,
        "root": {"path": "rootfs", "readonly": True},
        "mounts": _mounts(seen),
        "process": process_of(Program(list(order.argv), order.env, order.image.directory)),
    }


def process_of(program: Program) -> dict[str, Any]:
    """Return a program as the section `process` describes it: without any privilege."""
    return {
        "terminal": False,
        "user": {"uid": INSIDE_ID, "gid": INSIDE_ID},
        "args": program.argv,
        "env": [f"{name}={value}" for name, value in program.env.items()],
        "cwd": program.directory,
        "noNewPrivileges": True,
        "capabilities": {},
    }


def _mounts(seen: View) -> list[dict[str, Any]]:
    size = f"size={seen.scratch_bytes}"
    safe = ["nosuid", "nodev"]
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        _memory("/dev", ["nosuid", "mode=755", "size=65536", "ro"]),
        _memory("/dev/shm", [*safe, "mode=1777", size]),  # noqa: S108 (inside the sandbox)
    ]
    for bind in seen.binds:
        mode = "ro" if bind.read_only else "rw"
        options = ["rbind", mode, *safe]
        mounts.append(
            {
                "destination": bind.inside,
                "type": "bind",
                "source": bind.there,
                "options": options,
            }
        )
    mounts += [_memory(each, [*safe, "mode=1777", size]) for each in seen.scratch]
    return mounts


def _memory(where: str, options: list[str]) -> dict[str, Any]:
    return {"destination": where, "type": "tmpfs", "source": "tmpfs", "options": options}


def _make_root(root: Path, seen: View) -> None:
    root.mkdir(mode=0o755)
    for target, link in seen.links:
        (root / link[1:]).symlink_to(target)
    for folder in ("/proc", "/dev", "/sys", *seen.scratch):
        if folder.count("/") == 1:
            (root / folder[1:]).mkdir(exist_ok=True)
    for bind in seen.binds:
        inside = root / bind.inside[1:]
        if bind.inside.count("/") > 1:
            continue
        if Path(bind.there).is_dir():
            inside.mkdir(exist_ok=True)
        else:
            inside.touch()
