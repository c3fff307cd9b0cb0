"""Class `crun`: an OCI container by crun, without root, in a user namespace of one user.

crun (GPL) runs as a program of its own, as the user of the workload. It makes no cgroup: it is in
the workload's already, and so is all that it starts.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from skerry.node.sandbox import linux, seccomp
from skerry.node.workload.classes.base import (
    INSIDE_ID,
    Launch,
    Place,
    Program,
    find_program,
    missing,
    needs_filesystem,
    needs_no_gpu,
)
from skerry.node.workload.classes.bundle import own, write_bundle
from skerry.node.workload.classes.view import impossible_mounts
from skerry.node.workload.images import Image
from skerry.node.workload.order import Order
from skerry.node.workload.spec import ClassInfo, WorkloadSpec

_HINT = "apt-get install -y crun"
_NAMESPACES = ("user", "pid", "network", "ipc", "uts", "mount", "cgroup")
_PROBE_SECONDS = 10.0
UNIFIED = "/sys/fs/cgroup/unified"
"""Where version 2 lies beside version 1; crun refuses to run where it finds both."""


class Crun:
    """See the module."""

    name = "crun"
    summary = "An OCI container in a user namespace, and a cgroup; it shares the kernel."

    def probe(self, user: int | None) -> ClassInfo:
        """See `IsolationClass.probe`."""
        program = find_program("crun")
        if program is None:
            return missing(self, "crun is not installed.", _HINT)
        if Path(UNIFIED).is_dir() and user is None:
            return missing(
                self,
                "This machine has cgroups of versions 1 and 2 at once, where crun refuses to run; "
                "only a node that runs as root can take one out of its sight.",
                "Start the machine with systemd.unified_cgroup_hierarchy=1",
            )
        problem = _try(program, user)
        if problem:
            return missing(self, f"crun cannot run here: {problem}", "skerry doctor")
        return ClassInfo(self.name, True, self.summary)

    def reasons(self, spec: WorkloadSpec, image: Image) -> Iterator[str]:
        """See `IsolationClass.reasons`."""
        yield from needs_filesystem(self, image)
        yield from impossible_mounts(spec, image)
        yield from needs_no_gpu(self, spec)

    def launch(self, order: Order, place: Place) -> Launch:
        """See `IsolationClass.launch`."""
        program = find_program("crun")
        assert program is not None, "the class was probed"
        more = {**_user_map(order.uid), "seccomp": seccomp.oci_profile()}
        bundle = write_bundle(order, place, _NAMESPACES, **more)
        (bundle / "state").mkdir(mode=0o700)
        own(bundle, order.uid)
        pid_file = bundle / "pid"
        root = ["--root", str(bundle / "state"), "--cgroup-manager=disabled"]
        run = ["run", "--bundle", str(bundle), "--pid-file", str(pid_file), order.id]
        return Launch(
            argv=[program, *root, *run],
            env={"XDG_RUNTIME_DIR": str(bundle / "state")},
            find_first=lambda _pid: _read_pid(pid_file),
            uid=order.uid,
            limits=order.limits,
        )

    def owner(self, order: Order) -> int | None:
        """See `IsolationClass.owner`."""
        return order.uid

    def session_argv(self, order: Order, place: Place, program: Program) -> list[str] | None:
        """See `IsolationClass.session_argv`."""
        return None

    def end(self, order: Order, place: Place) -> None:
        """See `IsolationClass.end`; its state lies in the bundle, which the next start clears."""


def hide_unified() -> None:
    """Take cgroups of version 2 out of the sight of this process's mount namespace."""
    if Path(UNIFIED).is_dir() and any(Path(UNIFIED).iterdir()):
        linux.unmount(UNIFIED, linux.MNT_DETACH)


def _user_map(uid: int | None) -> dict[str, object]:
    host = os.geteuid() if uid is None else uid
    group = os.getegid() if uid is None else uid
    return {
        "uidMappings": [{"containerID": INSIDE_ID, "hostID": host, "size": 1}],
        "gidMappings": [{"containerID": INSIDE_ID, "hostID": group, "size": 1}],
    }


def _read_pid(path: Path) -> int | None:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    return int(text) if text else None


def _try(program: str, user: int | None) -> str:
    """Run a container that does nothing; return what went wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "state").mkdir()
        root = folder / "rootfs"
        root.mkdir()
        for each in ("usr", "proc", "dev", "sys"):
            (root / each).mkdir()
        for each in ("bin", "lib", "lib64"):
            if Path("/", each).is_symlink():
                (root / each).symlink_to(Path("/", each).readlink())
        config = {
            "ociVersion": "1.0.0",
            "root": {"path": "rootfs", "readonly": True},
            "process": {
                "user": {"uid": INSIDE_ID, "gid": INSIDE_ID},
                "args": ["/usr/bin/true"],
                "cwd": "/",
                "noNewPrivileges": True,
            },
            "mounts": [
                {
                    "destination": "/usr",
                    "type": "bind",
                    "source": "/usr",
                    "options": ["rbind", "ro"],
                }
            ],
            "linux": {"namespaces": [{"type": each} for each in _NAMESPACES], **_user_map(user)},
        }
        (folder / "config.json").write_bytes(msgspec.json.encode(config))
        own(folder, user)
        options = ["--root", str(folder / "state"), "--cgroup-manager=disabled"]
        try:
            done = subprocess.run(
                [program, *options, "run", "--bundle", str(folder), "probe"],
                check=False,
                capture_output=True,
                text=True,
                timeout=_PROBE_SECONDS,
                preexec_fn=lambda: _become(user),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return done.stderr.strip() or str(done.returncode) if done.returncode else ""


def _become(user: int | None) -> None:
    if user is None:
        return
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", "", linux.MS_SLAVE | linux.MS_REC)
    hide_unified()
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
