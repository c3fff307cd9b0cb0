"""Results that have contents for files: the command line writes them where it was told to."""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import click
import msgspec
import pytest

from skerry.kernel.commands import Command, Params, about
from skerry.kernel.errors import INVALID, SkerryError
from skerry.surfaces.cli.call import Call
from skerry.surfaces.cli.derive import perform
from skerry.surfaces.cli.options import Options


class Asked(Params, frozen=True):
    """What is asked for."""

    png: Annotated[str, about("a file", path=True)] = ""


class Picture(msgspec.Struct, frozen=True):
    """A result with a picture, and with one that nobody asked for."""

    data: bytes

    def contents(self) -> dict[str, bytes]:
        return {"png": self.data, "other": b"never written"}


def call(params: dict[str, Any], found: dict[str, Any]) -> None:
    made = Call(Options(json=True))
    made.__dict__["client"] = SimpleNamespace(call=lambda *_: found)
    with click.Context(click.Command("draw"), obj=made):
        perform(made, Command("lab.draw", "Draw", Asked, Picture), params)


def test_only_a_file_that_was_named_here_is_written(tmp_path: Path) -> None:
    found = {"data": base64.b64encode(b"points").decode()}
    call({"png": str(tmp_path / "a.png")}, found)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a.png", b"points")]
    call({}, found)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SkerryError, match="cannot be written") as refused:
        call({"png": str(tmp_path / "no" / "a.png")}, {"data": ""})
    assert refused.value.problem is INVALID
