"""The log on disk: power cuts, growth, and that whatever is cut, moved or edited is located."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.kernel.errors import CORRUPT, SkerryError
from skerry.node.audit import log as log_module
from skerry.node.audit.entries import Record, encode, shown
from skerry.node.audit.log import AuditLog
from skerry.node.audit.merkle import leaf_hash
from skerry.node.audit.note import COSIGNATURE, Checkpoint, Signer
from skerry.node.audit.proof import Extra, Proof, parse_proof
from skerry.node.audit.verify import FORMAT, Header, Trust, verify_path, verify_proof

SIGNER = Signer.make("skerry/test/1", b"k" * 32)
TRUST = Trust(key=SIGNER.verifier)


def grow(log: AuditLog, count: int, text: str = "x") -> None:
    """Append one batch of chained entries."""
    lines, before = [], log.last
    for offset in range(count):
        record = Record(
            log.head.size + offset,
            "2026-11-27T00:00:00.000Z",
            "note",
            {"text": text},
            shown(before),
        )
        lines.append(encode(record))
        before = leaf_hash(lines[-1])
    log.append(lines)


def saved(log: AuditLog, path: Path, change: Callable[[list[bytes]], object] = id) -> Path:
    """Write the log as `skerry audit export` does, after a change to its lines."""
    header = Header(FORMAT, str(log.verifier), str(log.note), tuple(map(str, log.history())))
    lines = list(log.entries())
    change(lines)
    path.write_bytes(msgspec.json.encode(header) + b"\n" + b"".join(x + b"\n" for x in lines))
    return path


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    made = AuditLog(tmp_path / "log", SIGNER)
    for count in (1, 3, 10, 250, 20, 1):
        grow(made, count)
    return made


@pytest.mark.parametrize("more", [1, 5, 300])
def test_older_roots_are_read_from_the_tiles_of_the_tree_as_it_is(log: AuditLog, more: int) -> None:
    roots = {log.head.size: log.head.root}
    for _ in range(3):
        grow(log, more)
        roots[log.head.size] = log.head.root
    again = AuditLog(log.directory, SIGNER)
    for size, root in roots.items():
        assert again.root_at(size) == root


def test_it_reopens_where_it_was(log: AuditLog) -> None:
    again = AuditLog(log.directory, SIGNER)
    assert (again.head, again.last) == (log.head, log.last)
    grow(again, 5)
    assert again.head.size == 290
    found = verify_path(again.directory, TRUST)
    assert (found.findings, found.entries, found.trusted) == ((), 290, True)


def test_only_the_files_of_the_newest_head_stay(log: AuditLog) -> None:
    names = {
        str(path.relative_to(log.directory)) for path in log.directory.rglob("*") if path.is_file()
    }
    assert names == {
        "checkpoint",
        "checkpoints",
        "key",
        "tile/0/000",
        "tile/0/001.p/29",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/29",
    }


def test_a_good_log_verifies_and_names_its_span(log: AuditLog, tmp_path: Path) -> None:
    found = verify_path(saved(log, tmp_path / "log.jsonl"), TRUST)
    assert (found.findings, found.entries) == ((), 285)
    untrusted = verify_path(tmp_path / "log.jsonl", Trust())
    assert untrusted.findings == () and not untrusted.trusted


def edit(index: int) -> Callable[[list[bytes]], object]:
    def change(lines: list[bytes]) -> None:
        lines[index] = lines[index].replace(b'"x"', b'"y"')

    return change


def edit_and_rechain(index: int) -> Callable[[list[bytes]], object]:
    """Edit an entry and write all later ones anew, as somebody without the key can."""

    def change(lines: list[bytes]) -> None:
        edit(index)(lines)
        for at in range(index + 1, len(lines)):
            document = json.loads(lines[at])
            document["before"] = shown(leaf_hash(lines[at - 1]))
            lines[at] = encode(msgspec.convert(document, Record))

    return change


def swap(lines: list[bytes]) -> None:
    lines[40], lines[41] = lines[41], lines[40]


@pytest.mark.parametrize(
    ("change", "located"),
    [
        (edit(100), "entry 100 is not the one that entry 101 was chained to"),
        (edit(284), "changed between entry 284 and entry 284"),
        (edit_and_rechain(7), "changed between entry 4 and entry 13"),
        (edit_and_rechain(270), "changed between entry 264 and entry 283"),
        (swap, "at 40 stands entry 41"),
        (lambda lines: lines.pop(60), "at 60 stands entry 61"),
        (lambda lines: lines.__delitem__(slice(280, None)), "entries from 280 to 284 are cut off"),
        (lambda lines: lines.append(lines[-1]), "entries from 285 on are under no signed head"),
        (lambda lines: lines.__setitem__(5, b"{"), "entry 5 is not well-formed"),
    ],
)
def test_what_was_changed_is_located(
    log: AuditLog, tmp_path: Path, change: Callable[[list[bytes]], object], located: str
) -> None:
    found = verify_path(saved(log, tmp_path / "log.jsonl", change), TRUST)
    assert any(located in each for each in found.findings), found.findings


@settings(max_examples=80, deadline=None, database=None)
@given(st.integers(0, 2**32))
def test_any_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    chance = random.Random(seed)
    directory = tmp_path_factory.mktemp("log")
    made = AuditLog(directory / "log", SIGNER)
    for _ in range(chance.randint(1, 4)):
        grow(made, chance.randint(1, 40))
    path = saved(made, directory / "log.jsonl")
    data = bytearray(path.read_bytes())
    start = data.index(b"\n") + 1
    at = chance.randrange(start, len(data) - 1)
    data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    assert verify_path(path, TRUST).findings
    shutil.rmtree(directory)


def test_a_head_that_was_kept_elsewhere_shows_a_log_that_was_rolled_back(
    log: AuditLog, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    shutil.copytree(log.directory, old)
    grow(log, 4)
    known = Trust(SIGNER.verifier, known=log.head)
    assert verify_path(log.directory, known).findings == ()
    found = verify_path(old, known)
    assert "the entries from 285 to 288 are cut off" in found.findings


def test_another_key_is_not_the_logs(log: AuditLog, tmp_path: Path) -> None:
    other = Signer.make("skerry/test/1", b"o" * 32)
    found = verify_path(saved(log, tmp_path / "log.jsonl"), Trust(key=other.verifier))
    assert any("not signed by skerry/test/1" in each for each in found.findings)


@pytest.mark.parametrize("name", ["tile/0/000", "tile/entries/000", "tile/1/000.p/1", "checkpoint"])
def test_damage_on_disk_is_found(log: AuditLog, name: str) -> None:
    path = log.directory / name
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    try:
        findings = verify_path(log.directory, TRUST).findings
    except SkerryError as error:
        findings = (error.what,)
    if name == "tile/1/000.p/1":
        with pytest.raises(SkerryError) as raised:
            AuditLog(log.directory, SIGNER)
        assert raised.value.problem is CORRUPT
    else:
        assert findings


@pytest.mark.parametrize("count", [1, 30, 300])
def test_a_power_cut_at_any_write_loses_nothing_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Cut the power before each write in turn; what was not renamed or synced may be torn."""
    made = AuditLog(tmp_path / "base", SIGNER)
    grow(made, 250)
    cuts = 0
    while _cut_at(cuts, tmp_path, made, count, monkeypatch):
        cuts += 1
    assert cuts > 2


def _cut_at(
    cut: int, folder: Path, made: AuditLog, count: int, monkeypatch: pytest.MonkeyPatch
) -> bool:
    """Cut the power at one write; tell whether there was such a write."""
    shutil.copytree(made.directory, folder / str(cut))
    log = AuditLog(folder / str(cut), SIGNER)
    real = log_module._write
    writes = 0

    def write(path: Path, data: bytes) -> None:
        nonlocal writes
        if writes == cut:
            real(path, data[: len(data) // 2])
            raise OSError("the power is gone")
        writes += 1
        real(path, data)

    monkeypatch.setattr(log_module, "_write", write)
    try:
        grow(log, count)
    except OSError:
        pass
    else:
        return False
    finally:
        monkeypatch.setattr(log_module, "_write", real)
    again = AuditLog(log.directory, SIGNER)
    assert again.head == log.head == made.head, "the one that failed is as it was"
    grow(again, count)
    assert verify_path(again.directory, TRUST).findings == ()
    return True


def proof(log: AuditLog, index: int) -> Proof:
    extra = Extra(log.entry(index), (str(log.verifier),))
    return Proof(index, tuple(log.inclusion(index)), log.note, extra)


def test_a_proof_is_checked_from_one_file(log: AuditLog, tmp_path: Path) -> None:
    for index in (0, 13, 255, 256, 284):
        path = tmp_path / f"{index}.proof"
        path.write_text(str(proof(log, index)))
        assert path.stat().st_size < 2048
        found = verify_path(path, TRUST)
        assert found.findings == () and found.record is not None
        assert found.record["n"] == index
    text = str(proof(log, 13))
    for wrong in (
        text.replace("index 13", "index 14"),
        text.replace("\n285\n", "\n286\n"),
        text.replace(text.splitlines()[3], text.splitlines()[4]),
        str(Proof(13, proof(log, 13).hashes, log.note, Extra(log.entry(14)))),
    ):
        assert verify_proof(parse_proof(wrong), TRUST).findings


def test_witnesses_count(log: AuditLog) -> None:
    witnesses = [Signer.make(f"skerry/w{n}/w", bytes([n]) * 32, COSIGNATURE) for n in range(3)]
    lines = [each.line(log.note.text, 1_795_000_000) for each in witnesses[:2]]
    assert log.add_cosignatures(log.head.size, lines)
    assert not log.add_cosignatures(log.head.size - 1, lines)
    keys = tuple(each.verifier for each in witnesses)
    found = verify_proof(proof(log, 3), Trust(SIGNER.verifier, keys, least=2))
    assert found.findings == () and found.cosigned == ("skerry/w0/w", "skerry/w1/w")
    assert len(str(proof(log, 3))) < 2048, "with two cosignatures"
    short = verify_proof(proof(log, 3), Trust(SIGNER.verifier, keys, least=3))
    assert "2 trusted witnesses signed; 3 were asked for" in short.findings
    again = AuditLog(log.directory, SIGNER)
    assert str(again.note) == str(log.note)
    assert Checkpoint.parse(again.note.text) == log.head
