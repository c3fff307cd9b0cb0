"""Extensions that the application's role may create itself, as on hosted PostgreSQL.

An extension runs its script as superuser, so PostgreSQL lets others create only what its control
file calls trusted. Copies of control files that say so lie in a folder of their own, which the
server looks into first (`extension_control_path`, PostgreSQL 18); scripts stay where they are.
"""

from __future__ import annotations

from pathlib import Path

from skerry.kinds.postgres.install import Installation

FIRST_MAJOR = 18

TRUSTED = (
    "autoinc",
    "bloom",
    "dict_xsyn",
    "insert_username",
    "moddatetime",
    "pg_buffercache",
    "pg_freespacemap",
    "pg_prewarm",
    "pg_stat_statements",
    "pg_visibility",
    "pgrowlocks",
    "pgstattuple",
    "vector",
)
"""What is safe in the hands of a role without rights of its own.

None of them reads or writes files, opens connections, changes pages behind PostgreSQL's back, or
brings a language in which one can; what only a superuser may do, their functions refuse to others.
"""


def control_path(directory: Path) -> str:
    """Return the setting that makes the server look into our folder in a state directory first."""
    return f"{directory / 'share'}:$system"


def write(installation: Installation, directory: Path) -> None:
    """Bring the control files for a server up to date; most often there is nothing to write.

    What is written while a server starts is what its own first `fsync` has to wait for.
    """
    target = directory / "share" / "extension"
    source = installation.extensions
    if installation.major < FIRST_MAJOR or source is None:
        return
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = str(source).replace("'", "''")
    for name in TRUSTED:
        original, copy = _text(source / f"{name}.control"), target / f"{name}.control"
        if original is None:
            copy.unlink(missing_ok=True)
            continue
        text = f"{original}\ntrusted = true\ndirectory = '{place}'\n"
        if _text(copy) != text:
            copy.write_text(text)


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
