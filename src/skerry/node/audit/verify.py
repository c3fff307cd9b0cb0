"""Verifying without a node: a log or a proof in a file, a signed head, and keys one trusts.

A log is a text file: a line that says what it is, with the signed heads, and then one entry a line,
byte for byte as it is hashed. Whatever was cut, moved or edited is found and located: each entry
has its number and the hash of the one before, and every kept head binds all entries before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from skerry.kernel.errors import INVALID, SkerryError
from skerry.node.audit.entries import Record, shown
from skerry.node.audit.log import CHECKPOINT, HISTORY, KEY, parse_history
from skerry.node.audit.merkle import EMPTY_ROOT, leaf_hash, node_hash
from skerry.node.audit.note import COSIGNATURE, Checkpoint, Note, Verifier, parse_note
from skerry.node.audit.proof import MAGIC, Proof, parse_proof
from skerry.node.audit.results import Verified
from skerry.node.audit.tiles import Tiles, directory_reader

FORMAT = "skerry audit log v1"
LINE_BYTES_MAX = 1 << 17
HEADER_BYTES_MAX = 1 << 30
FINDINGS_MAX = 50


class Header(msgspec.Struct, frozen=True):
    """The first line of a log in a file."""

    format: str
    key: str
    checkpoint: str
    history: tuple[str, ...] = ()
    witnesses: tuple[str, ...] = ()


class Trust(msgspec.Struct, frozen=True):
    """What the verifier brings: keys of the log and of witnesses, how many must have signed, and a
    head that was kept elsewhere.
    """

    key: Verifier | None = None
    witnesses: tuple[Verifier, ...] = ()
    least: int = 0
    known: Checkpoint | None = None


class Roots:
    """Roots of a tree that grows, one leaf at a time, in memory of its height."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        """Take a leaf."""
        self.size += 1
        count, found = self.size, leaf
        while count & 1 == 0:
            found = node_hash(self._peaks.pop(), found)
            count >>= 1
        self._peaks.append(found)

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        found = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            found = node_hash(peak, found)
        return found


def verify_path(path: Path, trust: Trust) -> Verified:
    """Verify a file or a log's directory; raise INVALID if it is neither a log nor a proof."""
    if path.is_dir():
        return _verify_directory(path, trust)
    try:
        with path.open("rb") as file:
            first = file.readline(HEADER_BYTES_MAX)
            if first.rstrip(b"\n") == MAGIC.encode():
                return verify_proof(parse_proof((first + file.read(1 << 20)).decode()), trust)
            header = _header(first)
            return _verify_log(header, _lines(file), trust)
    except (OSError, UnicodeDecodeError) as error:
        raise INVALID(f"{path} cannot be read.", why=str(error)) from error


def _header(line: bytes) -> Header:
    try:
        header = msgspec.json.decode(line, type=Header)
    except msgspec.DecodeError as error:
        raise _no_log() from error
    if header.format != FORMAT:
        raise _no_log()
    return header


def _no_log() -> SkerryError:
    return INVALID(
        "This is neither an audit log nor a proof.",
        hint="skerry audit export > log.jsonl, or skerry audit prove <entry> > entry.proof",
    )


def _lines(file: Iterable[bytes]) -> Iterator[bytes]:
    for line in file:
        if len(line) > LINE_BYTES_MAX:
            raise INVALID(f"A line has more than {LINE_BYTES_MAX} bytes.")
        yield line.rstrip(b"\n")


def _verify_directory(path: Path, trust: Trust) -> Verified:
    """Verify a log as a node keeps it, tiles included."""
    note = parse_note((path / CHECKPOINT).read_text())
    head = Checkpoint.parse(note.text)
    history = path / HISTORY
    notes = parse_history(history.read_text()) if history.exists() else []
    tiles = Tiles(directory_reader(path), head.size)
    key = path / KEY
    check = _Check(trust, note, notes, key.read_text() if key.exists() else "", ())
    findings: list[str] = []
    try:
        for bundle in range(math.ceil(head.size / 256)):
            kept = tiles.hashes(0, bundle)
            for offset, entry in enumerate(tiles.entries(bundle)):
                if leaf_hash(entry) != kept[offset * 32 : offset * 32 + 32]:
                    findings.append(f"entry {bundle * 256 + offset} is not what its tile holds")
                check.take(entry)
    except SkerryError as error:
        findings.append(error.what)
    return check.verdict(findings)


def _verify_log(header: Header, lines: Iterator[bytes], trust: Trust) -> Verified:
    notes = [parse_note(each) for each in header.history]
    note = parse_note(header.checkpoint)
    check = _Check(trust, note, notes, header.key, header.witnesses)
    for line in lines:
        check.take(line)
    return check.verdict([])


class _Check:
    """Goes through a log's entries once, and compares them with every head."""

    def __init__(
        self,
        trust: Trust,
        note: Note,
        history: Sequence[Note],
        key: str,
        witnesses: Sequence[str],
    ) -> None:
        self._trust = trust
        self._named = [Verifier.parse(each) for each in witnesses]
        self._note = note
        self._head = Checkpoint.parse(note.text)
        self._findings: list[str] = []
        self._key = trust.key or (Verifier.parse(key) if key else None)
        self._check_note(note)
        self._heads = self._known_heads(history)
        self._roots = Roots()
        self._before = bytes(32)
        self._good = 0
        self._bad: int | None = None
        self._since = self._until = ""

    def _check_note(self, note: Note) -> bool:
        """Tell whether a head is signed by the key; note what is wrong with it."""
        if self._key is None:
            return False
        try:
            if self._key in note.verified([self._key]):
                return True
            self._find(f"the head is not signed by {self._key.name}")
        except SkerryError as error:
            self._find(error.what)
        return False

    def _known_heads(self, history: Sequence[Note]) -> dict[int, bytes]:
        """Return the root that was signed for each size."""
        heads = {}
        for note in history:
            head = Checkpoint.parse(note.text)
            if self._key is not None and self._check_note(note):
                heads[head.size] = head.root
        heads[self._head.size] = self._head.root
        if self._trust.known is not None:
            heads[self._trust.known.size] = self._trust.known.root
        return heads

    def _find(self, what: str) -> None:
        if len(self._findings) < FINDINGS_MAX:
            self._findings.append(what)

    def take(self, line: bytes) -> None:
        """Take the next entry."""
        index = self._roots.size
        try:
            record = msgspec.json.decode(line, type=Record)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._find(f"entry {index} is not well-formed")
        else:
            if record.n != index:
                self._find(f"at {index} stands entry {record.n}: something was cut out or moved")
            if record.before != shown(self._before):
                self._find(f"entry {index - 1} is not the one that entry {index} was chained to")
            self._since = self._since or record.at
            self._until = record.at
        self._before = leaf_hash(line)
        self._roots.add(self._before)
        signed = self._heads.get(self._roots.size)
        if signed is None:
            return
        if signed == self._roots.root() and self._bad is None:
            self._good = self._roots.size
        elif signed != self._roots.root() and self._bad is None:
            self._bad = self._roots.size

    def verdict(self, findings: list[str]) -> Verified:
        """Return what came out."""
        size = self._roots.size
        longest = max(self._heads, default=0)
        if size < longest:
            self._find(f"the entries from {size} to {longest - 1} are cut off")
        if self._bad is not None:
            self._find(
                f"something was changed between entry {self._good} and entry {self._bad - 1}: "
                f"the head over {self._bad} entries was signed for others"
            )
        if size > self._head.size:
            self._find(f"the entries from {self._head.size} on are under no signed head")
        cosigned, complaints = _witnessed(self._note, self._trust)
        return Verified(
            what="audit log",
            origin=self._head.origin,
            entries=size,
            since=self._since,
            until=self._until,
            key=str(self._key or "no key"),
            trusted=self._trust.key is not None,
            cosigned=cosigned,
            also=_also(self._note, self._named, self._trust),
            findings=(*findings, *self._findings, *complaints),
        )


def _witnessed(note: Note, trust: Trust) -> tuple[tuple[str, ...], list[str]]:
    """Return who of the trusted witnesses signed a head, and what is wrong with that."""
    try:
        found = tuple(key.name for key in note.verified(trust.witnesses))
    except SkerryError as error:
        return (), [error.what]
    if len(found) < trust.least:
        return found, [f"{len(found)} trusted witnesses signed; {trust.least} were asked for"]
    return found, []


def _also(note: Note, named: Sequence[Verifier], trust: Trust) -> tuple[str, ...]:
    """Return the witnesses that signed by keys which only the file names, and nobody trusts yet."""
    keys = [each for each in named if each.kind == COSIGNATURE and each not in trust.witnesses]
    try:
        return tuple(str(each) for each in note.verified(keys))
    except SkerryError:
        # Signatures by keys that nobody trusts are no finding.
        return ()


def verify_proof(proof: Proof, trust: Trust) -> Verified:
    """Verify that an entry is in a log."""
    head = Checkpoint.parse(proof.note.text)
    named = [Verifier.parse(each) for each in proof.extra.keys]
    key = trust.key or next((each for each in named if each.name == head.origin), None)
    findings = []
    if key is None:
        findings.append("no key of the log is known")
    else:
        try:
            if key not in proof.note.verified([key]):
                findings.append(f"the head is not signed by {key.name}")
        except SkerryError as error:
            findings.append(error.what)
    if not proof.binds():
        findings.append(f"the entry is not at {proof.index} under the signed head")
    record = None
    try:
        record = msgspec.json.decode(proof.extra.entry, type=Record)
        if record.n != proof.index:
            findings.append(f"the entry says that it is {record.n}, the proof {proof.index}")
    except (msgspec.DecodeError, UnicodeDecodeError):
        findings.append("the entry is not well-formed")
    known = trust.known
    if known is not None and known.size == head.size and known.root != head.root:
        findings.append("the head is not the one that was kept elsewhere")
    cosigned, complaints = _witnessed(proof.note, trust)
    return Verified(
        what="proof",
        origin=head.origin,
        entries=0,
        since="",
        until="",
        key=str(key or "no key"),
        trusted=trust.key is not None,
        cosigned=cosigned,
        also=_also(proof.note, named, trust),
        findings=(*findings, *complaints),
        record=None if record is None else msgspec.to_builtins(record),
    )
