"""Where keepers come from: a small process that has everything imported and forks them.

A keeper belongs to nobody once it is forked: it leads a session of its own and is adopted by the
machine's first process, so that it outlives the node and this process alike. This one ends with the
node.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import sys

from skerry.node.sandbox import prepare
from skerry.node.workload.keeper import main as keep

REQUEST_BYTES_MAX = 8192


def main() -> None:
    """Fork keepers until the node is gone."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare()
    gc.freeze()
    connection.send(b"ready")
    while True:
        data, descriptors, _, _ = socket.recv_fds(connection, REQUEST_BYTES_MAX, 1)
        if not data:
            return
        child = os.fork()
        if child == 0:
            _become(connection, data.decode(), descriptors[0])
        os.close(descriptors[0])
        os.waitpid(child, 0)


def _become(connection: socket.socket, path: str, ready: int) -> None:
    """Become a keeper, a grandchild of this process; never returns."""
    status = 1
    try:
        connection.close()
        os.setsid()
        if os.fork():
            os._exit(0)
        errors = os.open(f"{path}/keeper.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.dup2(errors, 2)
        os.close(null)
        os.close(errors)
        os.chdir("/")
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        keep(path, socket.socket(fileno=ready))
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
