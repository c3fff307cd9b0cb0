"""The data directory: making it, taking over a copied or crashed one, its settings."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from skerry.kernel.errors import CONFIG_INVALID, CORRUPT
from skerry.kinds.postgres import trusted
from skerry.kinds.postgres.config import PostgresConfig
from skerry.kinds.postgres.install import Installation
from skerry.kinds.postgres.programs import as_known_user, environment, run
from skerry.kinds.postgres.roles import SUPERUSER

_SETTING = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?", re.IGNORECASE)
_OURS = frozenset(
    {
        "archive_command",
        "archive_library",
        "archive_mode",
        "basic_archive.archive_directory",
        "cluster_name",
        "config_file",
        "data_directory",
        "external_pid_file",
        "hba_file",
        "ident_file",
        "listen_addresses",
        "log_connections",
        "log_destination",
        "logging_collector",
        "port",
        "restore_command",
        "ssl",
        "unix_socket_directories",
        "unix_socket_permissions",
    }
)
_FOREIGN = re.compile(r"^\s*(primary_|recovery_target|restore_command|archive_|promote_trigger)")
_WAL_SEGMENT_MIB = 4
"""A quarter of the default: a small database stays small, and its archive too."""

_EMPTY_FOLDERS = (
    *("pg_commit_ts", "pg_dynshmem", "pg_logical/mappings", "pg_logical/snapshots", "pg_notify"),
    *("pg_replslot", "pg_serial", "pg_snapshots", "pg_stat", "pg_stat_tmp", "pg_tblspc"),
    *("pg_twophase", "pg_wal/archive_status", "pg_wal/summaries"),
)
"""What is empty in a new data directory; none of it may be missing."""

_WAKING = "waking.conf"

_HBA = "local all all scram-sha-256\nlocal replication all scram-sha-256\n"

_DEFAULTS: dict[str, str | bool | int | float] = {
    "max_connections": 100,
    "shared_buffers": "16MB",
    "max_worker_processes": 4,
    "max_parallel_workers": 2,
    "max_logical_replication_workers": 0,
    "max_wal_size": "256MB",
    "min_wal_size": "32MB",
    "wal_recycle": False,
    "wal_init_zero": False,
    "autovacuum_max_workers": 2,
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "",
    "log_checkpoints": False,
    "max_files_per_process": 300,
}
"""What makes a server small, and its start short: it counts descriptors up to the last of these."""

_WORKER_SLOTS = 4


def major_version(data: Path) -> int | None:
    """Return the major version of a data directory, or None if there is none yet."""
    if not data.exists():
        return None
    try:
        return int((data / "PG_VERSION").read_text())
    except (FileNotFoundError, ValueError) as error:
        raise CORRUPT(f"{data} is not a PostgreSQL data directory.") from error


async def create(installation: Installation, data: Path, verifier: str) -> None:
    """Make the data directory; a half-made one of an earlier try is thrown away."""
    half = data.with_name(data.name + ".new")
    shutil.rmtree(half, ignore_errors=True)
    secret = data.with_name("superuser.tmp")
    secret.touch(mode=0o600)
    secret.write_text(verifier + "\n")
    argv = [installation.program("initdb"), "-D", str(half), "-U", SUPERUSER]
    argv += ["-E", "UTF8", "--auth=scram-sha-256", f"--pwfile={secret}"]
    argv.append(f"--wal-segsize={_WAL_SEGMENT_MIB}")
    if installation.major >= 17:
        argv += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C.UTF-8"]
    else:
        argv += ["--locale=C.UTF-8"]
    try:
        await run(as_known_user(argv), env=environment(), seconds=120.0)
    finally:
        secret.unlink()
    half.rename(data)


def take_over(data: Path) -> None:
    """Remove what ties a directory to the server that last had it open; none may run on it.

    After a clean stop there is nothing, so that a start need not wait for the disk. A directory
    that came file by file lacks the folders that were empty.
    """
    (data / "postmaster.pid").unlink(missing_ok=True)
    if not (data / "pg_notify").exists():
        for each in _EMPTY_FOLDERS:
            (data / each).mkdir(mode=0o700, parents=True, exist_ok=True)


def cut_off(data: Path) -> None:
    """Remove from a clone what ties it to its parent: what made it a standby, and its slots.

    Replication slots would keep WAL for consumers that follow the parent.
    """
    for slot in (data / "pg_replslot").iterdir():
        shutil.rmtree(slot)
    (data / "standby.signal").unlink(missing_ok=True)
    automatic = data / "postgresql.auto.conf"
    lines = automatic.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not _FOREIGN.match(line)]
    if kept != lines:
        automatic.write_text("".join(kept))


@dataclass(frozen=True, slots=True)
class Places:
    """Where a server finds its things; without an archive it keeps no WAL."""

    data: Path
    run: Path
    archive: Path | None


def configure(
    installation: Installation,
    config: PostgresConfig,
    places: Places,
    cluster_name: str,
    extra: dict[str, str],
) -> None:
    """Write the server's settings into the run directory; raise CONFIG_INVALID for one of ours."""
    settings = dict(_DEFAULTS)
    if installation.major >= 18:
        settings["io_method"] = "sync"
        settings["autovacuum_worker_slots"] = _worker_slots(config)
        settings["extension_control_path"] = trusted.control_path(places.data.parent)
    if sys.platform == "linux":
        settings["recovery_init_sync_method"] = "syncfs"
    if sys.platform == "darwin":
        # Else what is synced may stay in the drive's own memory.
        settings["wal_sync_method"] = "fsync_writethrough"
    settings |= _checked(config.settings)
    settings |= {
        "listen_addresses": "",
        "port": 5432,
        "unix_socket_directories": str(places.run),
        "unix_socket_permissions": "0777",
        "hba_file": str(places.run / "pg_hba.conf"),
        "logging_collector": False,
        "log_destination": "stderr",
        "log_connections": "authorization" if installation.major >= 18 else True,
        "ssl": False,
        "cluster_name": cluster_name[:63],
    }
    if places.archive is not None:
        settings |= {
            "archive_mode": True,
            "archive_library": "basic_archive",
            "basic_archive.archive_directory": str(places.archive),
        }
    settings |= extra
    text = f"include '{_quoted(str(places.data / 'postgresql.conf'))}'\n"
    text += "".join(f"{name} = {_value(value)}\n" for name, value in settings.items())
    text += f"include_if_exists '{_WAKING}'\n"
    _write(places.run / "pg_hba.conf", _HBA)
    _write(places.run / "postgresql.conf", text)
    (places.run / _WAKING).write_text("autovacuum = off\n")


def finish_waking(run: Path) -> bool:
    """Let begin what nobody waits for, once the server has reloaded its settings.

    Return whether it has to: a server is started without the launcher of autovacuum, which would
    take a processor from whoever has woken it, and would wait for a minute after that anyway.
    """
    waking = run / _WAKING
    try:
        if not waking.stat().st_size:
            return False
    except FileNotFoundError:
        return False
    # Emptied, not removed: the server would say of each of its processes that a file is missing.
    waking.write_text("")
    return True


def _write(path: Path, text: str) -> None:
    """Write a file unless it is so already: a file that is emptied first may wait for the disk."""
    try:
        written = path.read_text() == text
    except FileNotFoundError:
        written = False
    if not written:
        path.write_text(text)


def _worker_slots(config: PostgresConfig) -> int:
    """Return for how many workers of autovacuum memory is set aside: enough for those asked for."""
    asked = str(config.settings.get("autovacuum_max_workers", ""))
    return max(_WORKER_SLOTS, int(asked)) if asked.isdecimal() else _WORKER_SLOTS


def _checked(settings: dict[str, str | bool | int | float]) -> dict[str, str | bool | int | float]:
    for name in settings:
        if name.lower() in _OURS or not _SETTING.fullmatch(name):
            raise CONFIG_INVALID(
                f"The setting {name!r} cannot be set.",
                why="Skerry sets it itself."
                if name.lower() in _OURS
                else "It is not a setting's name.",
            )
    return {name.lower(): value for name, value in settings.items()}


def _value(value: str | bool | int | float) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"'{_quoted(value)}'" if isinstance(value, str) else str(value)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "''").replace("\n", " ")
