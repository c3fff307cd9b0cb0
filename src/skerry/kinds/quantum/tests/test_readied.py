"""What was compiled once is not compiled again, and never taken for another program."""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.kinds.quantum import readied
from skerry.kinds.quantum.contract import JobRequest, Options, Program
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.readied import Readied
from skerry.kinds.quantum.tests.conftest import ghz


def params(source: str, **more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "format": "openqasm3",
        "bindings": {},
        "device": None,
        "level": "logical",
    }
    return {"source": source, "layout": [], "optimisation": 1, **plain, **more}


def test_only_what_compiles_to_the_same_is_the_same() -> None:
    kept = Readied()
    kept.keep(params("a"), "made of a")
    assert kept.find(params("a", seed=7, shots=3)) == "made of a"
    for other in (params("b"), params("a", bindings={"x": 1.0}), params("a", layout=["3"])):
        assert kept.find(other) == ""


def test_the_oldest_go() -> None:
    kept = Readied()
    for number in range(readied.PROGRAMS_MAX + 1):
        kept.keep(params(str(number)), "text")
    assert kept.find(params("0")) == ""
    assert kept.find(params("1")) == "text"
    kept.keep(params("large"), "x" * (readied.BYTES_MAX - 3))
    assert kept.find(params("1")) == ""
    kept.keep(params("larger"), "x" * (readied.BYTES_MAX + 1))
    assert kept.find(params("larger")) == ""


async def test_a_program_that_was_compiled_before_gives_the_same(engine: QuantumEngine) -> None:
    options = Options(seed=11)
    request = JobRequest("iqm-garnet", (Program(ghz(4)),), shots=200, options=options)
    found = []
    for source in (ghz(4), ghz(4), f"{ghz(4)} // new"):
        asked = msgspec.structs.replace(request, programs=(Program(source),))
        made = await engine.desk.submit(asked)
        await engine.desk.wait(made.id, 60)
        result = await engine.desk.result(made.id)
        found.append((result.provenance.compiled, result.counts))
    assert found[0] == found[1] == found[2]
