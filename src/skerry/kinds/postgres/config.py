"""The settings of a Postgres resource in `skerry.toml`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class PostgresConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[postgres.<name>]`."""

    version: Annotated[
        Annotated[int, Meta(ge=14, le=99)] | None,
        Meta(description="Major version of a new database; the newest if absent."),
    ] = None
    bin: Annotated[
        str, Meta(description="Folder of an installed PostgreSQL's programs, e.g. its `bin`.")
    ] = ""
    extensions: Annotated[
        tuple[str, ...],
        Meta(description="Extensions that the database has from its start, e.g. `vector`."),
    ] = ()
    settings: Annotated[
        dict[str, str | bool | int | float],
        Meta(description='Server settings as in postgresql.conf, e.g. `work_mem = "16MB"`.'),
    ] = {}
    retention: Annotated[
        str,
        Meta(
            description="How far back `branch create --at` reaches, e.g. `7d`; `0`: not at all.",
            pattern=r"^(0|(\d+(\.\d+)?(ms|s|m|h|d))+)$",
        ),
    ] = "1d"
    pool_size: Annotated[
        int, Meta(ge=1, le=1000, description="Connections that a function's pool may open.")
    ] = 10
    pooler_size: Annotated[
        int,
        Meta(ge=1, le=1000, description="Server sessions that all `-pooler` clients share."),
    ] = 20
    external: Annotated[
        bool, Meta(description="The database stays where `dsn_secret` says; Skerry stores nothing.")
    ] = False
    dsn_secret: Annotated[
        str, Meta(description="Name of the secret that holds the DSN of an external database.")
    ] = ""

    def __post_init__(self) -> None:
        if self.external and not self.dsn_secret:
            raise ValueError("external: It needs dsn_secret too, which names the secret of the DSN")
