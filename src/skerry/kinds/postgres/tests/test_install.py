"""Finding a server: its version is kept for as long as the program is the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.kernel.errors import SkerryError
from skerry.kinds.postgres import install


def put(folder: Path, version: str) -> None:
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    (folder / "include").mkdir(exist_ok=True)
    fresh = folder / "bin" / "postgres.new"
    fresh.write_text(version)
    fresh.rename(folder / "bin" / "postgres")
    (folder / "include" / "pg_config.h").write_text(f'#define PG_VERSION "{version}"\n')


def test_a_server_that_was_replaced_is_looked_at_again(tmp_path: Path) -> None:
    put(tmp_path, "17.9")
    configured = str(tmp_path / "bin")
    assert install.find(configured, None).version == "17.9"
    header = tmp_path / "include" / "pg_config.h"
    header.write_text("nothing")
    assert install.find(configured, None).version == "17.9", "the same program is known"
    put(tmp_path, "18.10")
    assert install.find(configured, None).version == "18.10"


def test_a_server_that_is_gone_is_not_found_though_it_was_known(tmp_path: Path) -> None:
    put(tmp_path, "18.1")
    configured = str(tmp_path / "bin")
    assert install.find(configured, 18).major == 18
    (tmp_path / "bin" / "postgres").unlink()
    with pytest.raises(SkerryError) as caught:
        install.find(configured, 18)
    assert caught.value.code == "EXTRA_MISSING"


def test_what_is_there_is_looked_at_ahead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    put(tmp_path, "18.2")
    folders = (tmp_path / "bin", tmp_path / "none")
    monkeypatch.setattr(install, "_folders", lambda configured: iter(folders))
    install.preload()
    (tmp_path / "include" / "pg_config.h").unlink()
    assert install.find("", 18).version == "18.2"
