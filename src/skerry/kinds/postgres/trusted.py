"""Extensions that the application's role may create itself, as on hosted PostgreSQL.

An extension runs its script as superuser, so PostgreSQL lets others create only what its control
file calls trusted. Copies of control files that say so lie in a folder of their own, which the
server looks into first (`extension_control_path`, PostgreSQL 18); scripts stay where they are.
"""

from __future__ import annotations

import shutil
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


def control_path(run: Path) -> str:
    """Return the setting that makes the server look into our folder first."""
    return f"{run / 'share'}:$system"


def write(installation: Installation, run: Path) -> None:
    """Write the control files for a server; harmless where it is older or lacks an extension."""
    target = run / "share" / "extension"
    shutil.rmtree(target.parent, ignore_errors=True)
    source = installation.extensions
    if installation.major < FIRST_MAJOR or source is None:
        return
    target.mkdir(mode=0o700, parents=True)
    place = str(source).replace("'", "''")
    for name in TRUSTED:
        control = source / f"{name}.control"
        if control.exists():
            text = f"{control.read_text()}\ntrusted = true\ndirectory = '{place}'\n"
            (target / control.name).write_text(text)
