"""`skerry workload shell`: the operator's terminal, connected to one inside a workload."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from typing import Any

import msgspec

from skerry.kernel.commands import Reach
from skerry.kernel.errors import NODE_UNREACHABLE, from_dict
from skerry.node.workload.service import Left, Shell
from skerry.node.workload.sessions import ENDED, ERRORS, FAILED, INPUT, INPUT_END, RESIZE

PATH = "/workload/session"
_CHUNK_BYTES = 4096


def run(params: Shell, reach: Reach) -> Left:
    """Run a shell to its end. Raises what the node refuses it with."""
    return Left(talk(reach, PATH, {"name": params.name, "argv": params.program}))


def talk(reach: Reach, path: str, ask: dict[str, Any]) -> int:
    """Connect this terminal with a session that the node serves; return its exit code.

    `ask` is the first message, to which the size of a terminal is added. Raises what the node
    refuses it with.
    """
    from websockets.exceptions import WebSocketException  # noqa: PLC0415 (not for help)
    from websockets.sync.client import connect  # noqa: PLC0415

    made, token = reach.open()
    made.settimeout(None)
    headers = {"Authorization": f"Bearer {token}"}
    try:
        with connect(
            f"ws://localhost{path}",
            sock=made,
            additional_headers=headers,
            max_size=None,
            compression=None,
        ) as wire:
            return _talk(wire, ask)
    except (WebSocketException, EOFError) as error:
        raise NODE_UNREACHABLE("The terminal was cut.", why=str(error)) from error


def _talk(wire: Any, ask: dict[str, Any]) -> int:
    from websockets.exceptions import ConnectionClosed  # noqa: PLC0415 (not for help)

    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    size = os.get_terminal_size() if is_terminal else None
    if size is not None:
        ask = {**ask, "terminal": (max(size.lines, 1), max(size.columns, 1))}
    wire.send(msgspec.json.encode(ask).decode())
    wake, done = os.pipe()
    answer: list[Any] = []
    reader = threading.Thread(target=_listen, args=(wire, answer, done), daemon=True)
    with _raw(is_terminal), _resizing(wire, is_terminal):
        reader.start()
        with contextlib.suppress(ConnectionClosed):
            # It has ended, and the reader knows how.
            _type(wire, wake)
    reader.join()
    os.close(wake)
    if answer and isinstance(answer[0], int):
        return answer[0]
    raise answer[0] if answer else NODE_UNREACHABLE("The terminal was cut.")


def _listen(wire: Any, answer: list[Any], done: int) -> None:
    """Write what the program says, until it ends."""
    try:
        for message in wire:
            kind, data = message[0], message[1:]
            if kind == ENDED:
                answer.append(int(data))
                return
            if kind == FAILED:
                answer.append(from_dict(msgspec.json.decode(data)))
                return
            stream = sys.stderr.buffer if kind == ERRORS else sys.stdout.buffer
            stream.write(data)
            stream.flush()
    finally:
        os.close(done)


def _type(wire: Any, wake: int) -> None:
    """Send what is typed, until the program has ended."""
    source: list[int] = [sys.stdin.fileno()]
    while True:
        ready, _, _ = select.select([*source, wake], [], [])
        if wake in ready:
            return
        data = os.read(source[0], _CHUNK_BYTES)
        if data:
            wire.send(bytes([INPUT]) + data)
        else:
            wire.send(bytes([INPUT_END]))
            source.clear()


@contextlib.contextmanager
def _raw(is_terminal: bool) -> Iterator[None]:
    """Let the terminal inside do the editing."""
    if not is_terminal:
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _resizing(wire: Any, is_terminal: bool) -> Iterator[None]:
    """Tell the terminal inside when this one changes its size."""
    if not is_terminal:
        yield
        return

    def tell(*_: object) -> None:
        size = os.get_terminal_size()
        wire.send(bytes([RESIZE]) + msgspec.json.encode((size.lines, size.columns)))

    before = signal.signal(signal.SIGWINCH, tell)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
