"""A node in a process of its own, as `skerry up` starts it, and the apps on it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import clock, scratch, wait_until

from skerry.app import kinds
from skerry.kernel.errors import SkerryError
from skerry.kinds._shared.http.request import request
from skerry.node.home import Home
from skerry.surfaces.cli.client import local
from skerry.testing.nodes import pack

START_SECONDS = 60.0


@dataclass
class Node:
    """A running node: its home, its own process, and what the API says about it."""

    home: Home
    pid: int
    started_seconds: float

    def call(self, command: str, **params: Any) -> Any:
        """Carry a command out."""
        return local(self.home.root).call(command, params, seconds=900.0)

    def deploy(self, files: Mapping[str, str], branch: str = "main") -> Any:
        """Serve an app of text files."""
        client = local(self.home.root)
        return client.call(
            "app.deploy", {"upload": client.upload([pack(files)]), "branch": branch}, seconds=120.0
        )

    def connect(self, name: str, app: str, branch: str = "main") -> dict[str, str]:
        """Return the fields with which clients connect."""
        fields = self.call("resource.connect", name=name, app=app, branch=branch)["fields"]
        return {str(key): str(value) for key, value in fields.items()}

    def status(self) -> dict[str, Any]:
        """Return what the node says about itself."""
        found: dict[str, Any] = self.call("node.status")
        return found

    @property
    def port(self) -> int:
        """The port of HTTP."""
        return int(self.status()["http"].rpartition(":")[2])

    def processes(self, app: str, branch: str = "main") -> dict[str, int]:
        """Return the processes of a branch that is awake."""
        return {
            each["process"]: each["pid"]
            for each in self.status()["awake"]
            if (each["app"], each["branch"]) == (app, branch)
        }

    def sleep(self, app: str, branch: str = "main") -> None:
        """Put a branch to sleep; return when it has no process."""
        self.call("branch.sleep", app=app, branch=branch)
        wait_until(lambda: not self.processes(app, branch), 20, f"{app}/{branch} sleeps")

    def get(self, url: str) -> bytes:
        """Fetch a page that must be there."""
        answer = request(url)
        assert answer.status == 200, answer.body
        return answer.body


@contextlib.contextmanager
def node(home: Path | None = None, volume: str | None = None) -> Iterator[Node]:
    """Yield a node on ports of the system's choice; without a home it gets a new one."""
    if home is None:
        with scratch("bench") as place, node(place / "h", volume) as found:
            yield found
        return
    argv = [sys.executable, "-m", "skerry", "up", "--home", str(home)]
    argv += ["--http-port", "0", *(["--volume", volume] if volume else [])]
    wires = (wire for manifest in kinds().values() for wire in manifest.wires if wire.front)
    argv += [word for wire in wires for word in ("--port", f"{wire.name}=0")]
    log = home.with_suffix(".log").open("ab")
    start = clock()
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    made = Node(Home(home), process.pid, 0.0)
    try:
        wait_until(lambda: _answers(made, process), START_SECONDS, "the node answers")
        made.started_seconds = clock() - start
        yield made
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _answers(made: Node, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        log = made.home.root.with_suffix(".log").read_text()[-2000:]
        raise RuntimeError(f"the node ended with {process.returncode}:\n{log}")
    if not made.home.socket.exists():
        return False
    try:
        made.status()
    except SkerryError as error:
        if not error.problem.temporary:
            raise
        return False
    return True


def user_of(pid: int) -> int:
    """Return the user that a process runs as."""
    return Path(f"/proc/{pid}").stat().st_uid
