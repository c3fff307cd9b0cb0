"""QIR that decides and computes while it runs, against Microsoft's own simulator of Q#."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.kinds.quantum.contract import JobRequest, JobState, Options, Program
from skerry.kinds.quantum.engine import QuantumEngine
from skerry.kinds.quantum.wires.azure.results import value
from skerry.kinds.quantum.worker import conditions, qir
from skerry.kinds.quantum.worker.deciding import Diagram
from skerry.kinds.quantum.worker.ir import UnsupportedError

qsharp = pytest.importorskip("qdk.qsharp")

COMPUTING = """
operation Main() : (Result[], Bool, Int, Int) {
    use q = Qubit[3];
    %s
    let found = [M(q[0]), M(q[1]), M(q[2])];
    mutable sum = 0;
    for i in 0..2 { if found[i] == One { set sum += 3 - 2 * i; } }
    mutable other = 1;
    if sum > 1 or found[1] == found[2] { set other = sum * sum - 7; X(q[0]); }
    elif sum == -1 { set other = sum - 5; Y(q[1]); }
    let again = M(q[0]);
    if again == One and found[0] == Zero { X(q[2]); }
    (found + MResetEachZ(q) + [again], again == found[1], sum, other)
}
"""
DECIDING = """
operation Main() : Result[] {
    use q = Qubit[3];
    H(q[0]); H(q[1]);
    let (a, b) = (M(q[0]), M(q[1]));
    if a == One { if b == One { X(q[2]); } else { H(q[2]); } }
    let c = M(q[2]);
    mutable turns = 0.25;
    if c == One { set turns = turns + 0.5; }
    H(q[2]);
    Rz(turns * 2.0, q[2]);
    H(q[2]);
    MResetEachZ(q) + [a, b, c]
}
"""


def compiled(code: str) -> str:
    """Return the QIR of a program in Q#, for machines that compute while they run."""
    qsharp.init(target_profile=qsharp.TargetProfile.Adaptive_RIF)
    qsharp.eval(code)
    return str(qsharp.compile("Main()"))


def plain(found: Any) -> Any:
    """Return an outcome of Microsoft's simulator, or of ours, as numbers in lists."""
    if isinstance(found, dict):
        return [plain(each) for each in found.values()]
    if isinstance(found, list | tuple):
        return [plain(each) for each in found]
    return int(found == qsharp.Result.One) if isinstance(found, qsharp.Result) else found


async def memory(engine: QuantumEngine, program: Program, device: str, shots: int) -> Any:
    options = Options(seed=3, memory=True)
    request = JobRequest(device, (program,), shots=shots, options=options)
    job = await engine.desk.wait((await engine.desk.submit(request)).id, 50.0)
    assert job.state is JobState.COMPLETED, job.error
    return (await engine.desk.result(job.id)).memory


async def run(engine: QuantumEngine, text: str, device: str, shots: int) -> list[Any]:
    shape = qir.recorded(text)
    found = await memory(engine, Program(text, "qir"), device, shots)
    return [plain(value(shape, bits)) for bits in found]


async def test_outcomes_are_those_of_microsofts_simulator(engine: QuantumEngine) -> None:
    for bits in ((0, 0, 0), (1, 0, 0), (0, 1, 1), (0, 0, 1), (1, 1, 0)):
        flips = "".join(f"X(q[{place}]); " for place, bit in enumerate(bits) if bit)
        text = compiled(COMPUTING % flips)
        expected = plain(qsharp.run("Main()", 1)[0])
        assert await run(engine, text, "sim-ideal", 2) == [expected] * 2, bits
    text = compiled(DECIDING)
    shots = 1500
    own = Counter(str(each) for each in await run(engine, text, "quantinuum-h2-1", shots))
    theirs = Counter(str(plain(each)) for each in qsharp.run("Main()", shots))
    distance = sum(abs(own[each] - theirs[each]) for each in own | theirs) / (2 * shots)
    # By chance alone, about 0.03 for ten outcomes; the twin's errors add as much.
    assert distance < 0.08
    assert len(theirs) >= 9
    flipped = COMPUTING % "X(q[1]);"
    assert len(await memory(engine, Program(flipped, "qsharp"), "sim-ideal", 5)) == 5


PARTS = st.recursive(
    st.integers(0, 4).map(lambda place: ["bit", place]),
    lambda parts: st.one_of(
        st.tuples(parts).map(lambda found: ["not", *found]),
        st.tuples(st.sampled_from(["and", "or", "xor"]), parts, parts).map(list),
    ),
    max_leaves=12,
)


def drawn(diagram: Diagram, condition: Any) -> int:
    name, *parts = condition
    if name == "bit":
        return diagram.bit(parts[0])
    nodes = [drawn(diagram, each) for each in parts]
    jobs: dict[str, Callable[..., int]] = {
        "not": diagram.none,
        "and": diagram.both,
        "or": diagram.either,
        "xor": diagram.differ,
    }
    return jobs[name](*nodes)


@settings(max_examples=60)
@given(PARTS, PARTS)
def test_conditions_that_mean_the_same_are_one(one: Any, other: Any) -> None:
    diagram = Diagram()
    nodes = (drawn(diagram, one), drawn(diagram, other))
    tables = []
    for condition, node in zip((one, other), nodes, strict=True):
        rows = list(itertools.product((False, True), repeat=5))
        table = [conditions.holds(condition, row) for row in rows]
        assert table == [conditions.holds(diagram.written(node), row) for row in rows]
        tables.append(table)
    assert (nodes[0] == nodes[1]) == (tables[0] == tables[1])


HEAD = (
    "define i64 @main() {\nentry:\n"
    "  call void @__quantum__qis__m__body(ptr null, ptr null)\n"
    "  %a = call i1 @__quantum__rt__read_result(ptr null)\n"
)
BAD = (
    ("  br label %entry\n", "loops"),
    ("  br i1 %b, label %x, label %x\nx:\n  ret i64 0\n", "before it is made"),
    ("  br i1 %a, label %x, label %y\n", "nowhere"),
    ("  switch i64 0, label %x []\n", "not known"),
    ("  %c = load i64, ptr null\n  ret i64 0\n", "not known"),
    ("  %c = add i64 %a, 99x\n  ret i64 0\n", "no number"),
    ("  %c = sdiv i64 1, 0\n  ret i64 0\n", "no number"),
    ("  call void @__quantum__qis__m__body(ptr null, ptr null)\n  ret i64 0\n", "measured again"),
    ("  call void @__quantum__qis__rx__body(double %zz, ptr null)\n  ret i64 0\n", "before it is"),
)


@pytest.mark.parametrize(("rest", "says"), BAD)
def test_what_is_not_known_is_refused_with_its_line(rest: str, says: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        qir.read(f"{HEAD}{rest}}}\n")
    assert says in f"{caught.value.what} {caught.value.why}"


def test_an_angle_may_depend_on_what_was_measured() -> None:
    text = (
        f"{HEAD}  %b = select i1 %a, double 0.5, double 1.5\n"
        "  call void @__quantum__qis__rz__body(double %b, ptr null)\n  ret i64 0\n}\n"
    )
    found = qir.read(text)["ops"][1:]
    assert [(op[2][0], op[2][1]) for op in found] == [
        (["bit", 0], [["rz", [0], [0.5]]]),
        (["not", ["bit", 0]], [["rz", [0], [1.5]]]),
    ]
