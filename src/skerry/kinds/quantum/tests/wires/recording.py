"""Programs in QIR that record what they read, as tests of Azure's wire send them."""

from __future__ import annotations


def recording(*lines: str) -> str:
    """Return a program in QIR that flips qubit 0, reads two, and records as it is told."""
    calls = "\n".join(f"  call void @__quantum__{each}" for each in lines)
    return (
        "define i64 @ENTRYPOINT__main() #0 {\nblock_0:\n"
        "  call void @__quantum__qis__x__body(ptr inttoptr (i64 0 to ptr))\n"
        "  call void @__quantum__qis__m__body(ptr inttoptr (i64 0 to ptr), ptr null)\n"
        "  call void @__quantum__qis__m__body(ptr inttoptr (i64 1 to ptr),"
        f" ptr inttoptr (i64 1 to ptr))\n{calls}\n  ret i64 0\n}}\n"
    )


READ_0 = "rt__result_record_output(ptr null, ptr @0)"
READ_1 = "rt__result_record_output(ptr inttoptr (i64 1 to ptr), ptr @1)"
