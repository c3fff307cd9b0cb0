"""Stacks that this Python cannot have are refused before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.kernel.errors import UNSUPPORTED, SkerryError
from skerry.kinds.quantum.installing import install
from skerry.kinds.quantum.stacks import STACKS


async def test_a_stack_for_a_newer_python_is_refused_at_once(tmp_path: Path) -> None:
    stack = STACKS["clients-scaleway"]._replace(python=(4, 0))
    with pytest.raises(SkerryError, match=r"Python 4\.0") as caught:
        await install(stack, tmp_path / "made", lambda done, total, text: None)
    assert caught.value.problem is UNSUPPORTED
    assert not (tmp_path / "made").exists()
