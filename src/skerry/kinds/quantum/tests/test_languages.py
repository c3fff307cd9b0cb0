"""What a program is written in, told from its text."""

from __future__ import annotations

import pytest

from skerry.kernel.errors import INVALID, SkerryError
from skerry.kinds.quantum import language
from skerry.kinds.quantum.binding import job_request
from skerry.kinds.quantum.tests.test_atoms import chain
from skerry.kinds.quantum.tests.test_perceval import HOM, zipped


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('OPENQASM 3.0; include "stdgates.inc"; qubit[2] q;', "openqasm3"),
        ("// a comment\nOPENQASM 2.0;\nqreg q[2];", "openqasm2"),
        ("qubit q; h q;", "openqasm3"),
        ("namespace Test { @EntryPoint() operation Main() : Unit {} }", "qsharp"),
        ("import Std.Math.*;\noperation Main() : Result[] { [] }", "qsharp"),
        ("@EntryPoint()\noperation Main() : Unit {}", "qsharp"),
        ("%Result = type opaque\ndefine void @main() #0 {\n", "qir"),
        ("; ModuleID = 'x'\ndeclare void @__quantum__qis__h__body(ptr)", "qir"),
        (chain(3), "ahs"),
        (HOM, "perceval"),
        (f'"{zipped(HOM)}"', "perceval"),
        ('{"version": "1", "register": [], "operations": []}', "pulser"),
        ('{"modes": 2, "input": [1, 1], "components": []}', "photonic"),
        ('{"qubits": 1, "bits": 0, "ops": []}', "circuit"),
    ],
)
def test_the_language_is_told(source: str, expected: str) -> None:
    assert language.of(source) == expected


def test_a_function_gives_texts_and_no_other_things() -> None:
    assert [each.source for each in job_request("qubit q;").programs] == ["qubit q;"]
    assert len(job_request(["qubit q;", "bit c;"]).programs) == 2
    for other in (3, [b"qubit q;"], {"qubits": 1}):
        with pytest.raises(SkerryError) as refused:
            job_request(other)
        assert refused.value.problem is INVALID
