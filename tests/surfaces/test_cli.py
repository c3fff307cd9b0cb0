"""The command line against the real API over a real unix socket."""

from __future__ import annotations

from collections.abc import Callable

from tests.surfaces.conftest import Served

Run = Callable[..., tuple[int, str, str]]


def test_status_for_people(run: Run, served: Served) -> None:
    code, out, err = run("status")
    assert code == 0, err
    assert "http://127.0.0.1:7878" in out
    assert "48.0 MiB" in out and "1.2 s" in out
    assert "\x1b" not in out
