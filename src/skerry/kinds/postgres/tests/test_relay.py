"""What the relay knows of a session, however its bytes are cut."""

from __future__ import annotations

import struct
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from skerry.kinds._shared.pgwire import messages
from skerry.kinds.postgres.answers import Answers, Expected, Fate
from skerry.kinds.postgres.prepared import Statement
from skerry.kinds.postgres.relay import Back, Forth, Owner, ends_with_a_message

READY = messages.message(b"Z", b"I")
PARSED, CLOSED, BOUND = (messages.message(kind) for kind in (b"1", b"3", b"2"))


class Peer:
    """A transport that keeps what is written, and its owner."""

    def __init__(self) -> None:
        self.transport = self
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


KINDS = st.sampled_from([b"Q", b"P", b"B", b"E", b"S", b"d", b"F", b"X"])
SENT = st.lists(st.tuples(KINDS, st.binary(max_size=40)), max_size=12)
CUTS = st.lists(st.integers(0, 10_000), max_size=10)


WORDS = st.text("SELECT 1;", max_size=40).map(str.encode)
SPOKEN = st.lists(st.tuples(KINDS, WORDS), min_size=1, max_size=12)


@given(SPOKEN, st.lists(st.integers(0, 10_000), max_size=10), st.integers(1, 40))
def test_the_last_pieces_tell_whether_a_message_is_half_sent(
    sent: list[tuple[bytes, bytes]], cuts: list[int], short: int
) -> None:
    stream = b"".join(messages.message(kind, body) for kind, body in sent)
    assert ends_with_a_message([piece for piece in cut(stream, cuts) if piece])
    last = len(messages.message(*sent[-1]))
    half = stream[: len(stream) - min(short, last - 1)]
    assert not ends_with_a_message([piece for piece in cut(half, cuts) if piece])


def test_nothing_kept_tells_nothing() -> None:
    assert not ends_with_a_message([])


@given(SENT, CUTS)
def test_questions_are_counted_however_they_come(
    sent: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(messages.message(kind, body) for kind, body in sent)
    client, server = Peer(), Peer()
    forth = Forth(cast(Owner, client), cast(Owner, server))
    for piece in cut(stream, cuts):
        forth.data_received(piece)
    assert server.written == stream
    assert forth.waiting == sum(kind in b"QSF" for kind, _ in sent)
    assert forth.between_messages
    if stream:
        forth.data_received(b"Q\x00")
        assert not forth.between_messages


@given(st.integers(1, 5), st.binary(max_size=30).filter(lambda each: b"Z" not in each), CUTS)
def test_answers_are_counted_however_they_come(count: int, body: bytes, cuts: list[int]) -> None:
    stream = (messages.message(b"D", body) + READY) * count
    client, server = Peer(), Peer()
    forth = Forth(cast(Owner, client), cast(Owner, server))
    forth.data_received(messages.query("SELECT 1") * (count + 1))
    back = Back(cast(Owner, server), cast(Owner, client), forth)
    for piece in cut(stream, cuts):
        back.data_received(piece)
    assert client.written == stream
    assert forth.waiting == 1
    assert back.ready


@given(st.lists(st.sampled_from([Fate.PASS, Fate.DROP, Fate.AS_PARSED]), max_size=8), CUTS)
def test_a_pooled_client_sees_its_own_answers_alone(fates: list[Fate], cuts: list[int]) -> None:
    answers = Answers()
    said = expected = b""
    for fate in fates:
        answers.expect(Expected(fate))
        said += (CLOSED if fate is Fate.AS_PARSED else PARSED) + BOUND
        expected += (b"" if fate is Fate.DROP else PARSED) + BOUND
    answers.expect(Expected(Fate.SYNC))
    row = messages.message(b"D", struct.pack("!Hi", 1, -1))
    seen = b"".join(answers.read(piece) for piece in cut(said + row + READY, cuts))
    assert seen == expected + row + READY
    assert answers.idle


def test_what_an_error_skips_is_told() -> None:
    answers = Answers()
    first, second = (Statement(name, b"SELECT 1\x00\x00\x00") for name in (b"one", b"two"))
    answers.expect(Expected(Fate.PASS, first, b"a"))
    answers.expect(Expected(Fate.DROP, second))
    answers.expect(Expected(Fate.SYNC))
    error = messages.message(b"E", b"CXX000\x00\x00")
    assert answers.read(PARSED + error) == PARSED + error
    assert [each.statement for each in answers.failed] == [second]
    answers.read(READY)
    assert answers.idle


TAGS = st.sampled_from([b"SELECT 1", b"UPDATE 3", b"BEGIN", b"SET", b"DISCARD ALL", b"LISTEN"])
ANSWER = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([b"T", b"D", b"N", b"E", b"G", b"3"]), st.binary(max_size=12)),
        st.tuples(st.just(b"C"), TAGS.map(lambda tag: tag + b"\x00")),
    ),
    max_size=5,
)


@given(ANSWER, st.sampled_from([b"I", b"T", b"E"]), st.integers(0, 8), st.binary(max_size=6))
def test_a_plain_end_is_what_reading_finds(
    answer: list[tuple[bytes, bytes]], status: bytes, short: int, more: bytes
) -> None:
    whole = b"".join(messages.message(kind, body) for kind, body in answer)
    whole += messages.message(b"Z", status)
    quick, slow = Answers(), Answers()
    for each in (quick, slow):
        each.expect(Expected(Fate.QUERY))
    for other in ([whole[:-short]] if short else []) + ([whole + more] if more else []):
        assert not quick.end_plainly(other)
        assert not quick.idle
    plain = quick.end_plainly(whole)
    assert slow.read(whole) == whole or not plain
    marks = any(kind in b"G3" for kind, _ in answer) or slow.telling or slow.forgotten
    assert plain is not marks
    if plain:
        assert (quick.idle, quick.open, quick.settled) == (slow.idle, slow.open, slow.settled)
