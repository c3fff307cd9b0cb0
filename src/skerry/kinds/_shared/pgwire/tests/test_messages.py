"""Framing: what is written reads back, what is broken is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.kernel.errors import PROBLEMS, SkerryError
from skerry.kinds._shared.pgwire import messages
from skerry.kinds._shared.pgwire.messages import WireError

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
NAME = TEXT.filter(bool)


@given(st.dictionaries(NAME, TEXT, max_size=5), NAME)
def test_a_startup_packet_reads_back(parameters: dict[str, str], user: str) -> None:
    given_ = {**parameters, "user": user}
    packet = messages.startup(given_)
    assert int.from_bytes(packet[:4], "big") == len(packet)
    read = messages.parse_startup(packet[4:])
    assert read.parameters == given_
    assert read.minor == 0


@given(st.binary(min_size=4, max_size=200))
def test_garbage_is_no_startup_packet(body: bytes) -> None:
    try:
        assert messages.parse_startup(body).parameters["user"]
    except WireError as error:
        assert error.encode()[:1] == b"E"


@given(st.lists(st.tuples(st.sampled_from([b"Q", b"D", b"Z"]), st.binary(max_size=50))))
def test_messages_are_split_wherever_they_are_cut(sent: list[tuple[bytes, bytes]]) -> None:
    buffer = bytearray()
    seen = []
    for byte in b"".join(messages.message(kind, body) for kind, body in sent):
        buffer.append(byte)
        seen += list(messages.split(buffer, 1000))
    assert seen == sent
    assert not buffer


def test_a_message_beyond_the_limit_is_refused() -> None:
    with pytest.raises(WireError):
        list(messages.split(bytearray(messages.message(b"Q", b"x" * 100)), 50))


@pytest.mark.parametrize("code", sorted(PROBLEMS))
def test_every_problem_has_an_error_response(code: str) -> None:
    error = SkerryError(PROBLEMS[code], "What.", "why", "hint")
    fields = messages.parse_error(WireError.of(error).encode()[5:])
    assert fields["M"] == "What"
    assert fields["D"] == "why"
    assert fields["H"] == "hint"
    assert len(fields["C"]) == 5
