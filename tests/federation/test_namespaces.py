"""A node that the network cuts off: each node in a network namespace of its own, as root."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.federation.test_replicas import Cluster, kept, until

from skerry.kernel.errors import SkerryError
from skerry.testing.nodes import open_directory

pytestmark = pytest.mark.slow

NAMES = ("rock", "skerry", "holm")
_NEW_NETWORK = 0x40000000


class Network:
    """A switch in a namespace of its own, and a wire from it to each node's."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._switch = _namespace(stack)
        self.nodes = {name: _namespace(stack) for name in NAMES}
        self._inside(self._switch, "ip link add name switch type bridge")
        self._inside(self._switch, "ip link set switch up")
        for number, (name, pid) in enumerate(self.nodes.items(), start=1):
            wire = f"to-{name}"
            self._inside(
                self._switch, f"ip link add name {wire} type veth peer name wire netns {pid}"
            )
            self._inside(self._switch, f"ip link set {wire} master switch up")
            self._inside(pid, f"ip address add 10.77.0.{number}/24 dev wire")
            self._inside(pid, "ip link set wire up")
            self._inside(pid, "ip link set lo up")

    def address(self, name: str) -> str:
        return f"10.77.0.{NAMES.index(name) + 1}"

    def wire(self, name: str, state: str) -> None:
        self._inside(self._switch, f"ip link set to-{name} {state}")

    def _inside(self, pid: int, command: str) -> None:
        argv = ["nsenter", "--target", str(pid), "--net", *command.split()]
        subprocess.run(argv, check=True, capture_output=True, timeout=10)


def _namespace(stack: contextlib.ExitStack) -> int:
    """Return a process that holds a new namespace, until the stack is closed."""
    process = stack.enter_context(
        subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=-1, stdout=-1)
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == b"\n"
    return process.pid


class Apart(Cluster):
    """Nodes that reach each other over the network alone."""

    def __init__(self, top: Path, network: Network) -> None:
        super().__init__(top)
        self.network = network

    def host(self, name: str) -> str:
        return self.network.address(name)

    def prefix(self, name: str) -> list[str]:
        return ["nsenter", "--target", str(self.network.nodes[name]), "--net"]

    def get(self, name: str, path: str, app: str = "shop") -> tuple[int, str]:
        """Ask from the node's own namespace: a thread of its own goes there."""
        found: list[tuple[int, str]] = []

        def ask() -> None:
            _enter(self.network.nodes[name])
            found.append(super(Apart, self).get(name, path, app))

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        return found[0]

    def taker(self, *names: str) -> str:
        """Wait until one of the nodes has taken the app over; ask nobody who is cut off."""
        found: list[str] = []

        def look() -> bool:
            for name in names:
                with contextlib.suppress(SkerryError):
                    self.call(name, "branch.list", app="shop")
                    found.append(name)
            return bool(found)

        until(look, "shop is taken over")
        until(lambda: self.get(found[0], "/")[0] == 200, "it answers")
        return found[0]

    def cut(self, name: str) -> None:
        """Let a node reach neither the others nor the leases."""
        self.network.wire(name, "down")
        (self.leases / f"cut-{name}").touch()

    def mend(self, name: str) -> None:
        (self.leases / f"cut-{name}").unlink()
        self.network.wire(name, "up")


def _enter(pid: int) -> None:
    """Move this thread into the network namespace of a process."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{pid}/ns/net").open() as namespace:
        if libc.setns(namespace.fileno(), _NEW_NETWORK) < 0:
            raise OSError(ctypes.get_errno(), "setns")


@pytest.fixture
def apart() -> Iterator[Apart]:
    missing = [each for each in ("ip", "unshare", "nsenter") if shutil.which(each) is None]
    if os.geteuid() != 0 or missing:
        why = f"this machine has no {', '.join(missing)}" if missing else "this is not root"
        pytest.skip(f"NO NODE IS CUT OFF BY THE NETWORK: {why}")
    with contextlib.ExitStack() as stack:
        top = stack.enter_context(open_directory())
        try:
            network = Network(stack)
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode().strip()
            pytest.skip(f"NO NODE IS CUT OFF BY THE NETWORK: no namespaces here: {said}")
        made = Apart(top, network)
        stack.callback(made.stop)
        made.begin(*NAMES)
        yield made
        for name in NAMES:
            sys.stdout.write(f"---- {name}\n{(top / f'{name}.log').read_text()[-4000:]}")


def test_a_node_that_the_network_cuts_off_is_replaced_and_comes_back(apart: Apart) -> None:
    apart.deploy("rock", "shop")
    apart.call("rock", "federation.place", app="shop", replicas=2, survive="node")
    assert apart.get("rock", "/put/1")[0] == 200
    assert kept(apart, "holm", "shop") == 1, "the others pass on to it"

    apart.cut("rock")
    assert apart.get("rock", "/put/2")[0] != 200, "nothing is acknowledged that no standby has"
    holder = apart.taker("skerry", "holm")
    assert apart.get(holder, "/put/3")[0] == 200
    assert apart.get("rock", "/")[0] != 200, "the old leader refuses"

    apart.mend("rock")
    until(lambda: "rock" in apart.standbys("shop", holder), "rock stands by")
    assert kept(apart, "rock", "shop") == kept(apart, holder, "shop") == 2
