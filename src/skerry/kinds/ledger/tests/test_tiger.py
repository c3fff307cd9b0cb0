"""TigerBeetle's protocol byte by byte: checksums, sessions, and what is not the protocol at all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections.abc import AsyncIterator

import pytest

from skerry.kernel.ledger.records import Account, Transfer, pack, unpack_results
from skerry.kinds.ledger.operations import Operation, join, one_batch, only_batch
from skerry.kinds.ledger.tests.harness import Node
from skerry.kinds.ledger.tiger import front
from skerry.kinds.ledger.tiger.checksum import compiled_checksum, plain_checksum
from skerry.kinds.ledger.tiger.head import HEAD_BYTES, Command

CLIENT = 77
RELEASE = 4361
EMPTY = "83cc600dc4e3e7e62d4055826174f149"
"""The checksum of nothing, as TigerBeetle's own source has it (`src/vsr/checksum.zig`)."""


@pytest.mark.parametrize("digest", [plain_checksum, compiled_checksum()])
def test_the_checksum_is_tigerbeetles(digest: object) -> None:
    if digest is None:
        pytest.skip("NOT TESTED: numba is not installed, or the processor has no AES instructions")
    assert callable(digest)
    assert digest(b"").hex() == EMPTY
    for size in (1, 15, 16, 31, 32, 33, 240, 1000):
        data = os.urandom(size)
        assert digest(data) == plain_checksum(data)


def message(
    node: Node,
    operation: int,
    body: bytes,
    *,
    session: int = 0,
    request: int = 0,
    client: int = CLIENT,
    command: int = Command.REQUEST,
) -> bytes:
    """Return a message as a client would make it."""
    own = struct.pack(
        "<16s16x16sQQQIB59x", bytes(16), client.to_bytes(16, "little"), session, 0, 0, 0, 0
    )
    own = struct.pack(
        "<16s16x16sQQIB59x",
        bytes(16),
        client.to_bytes(16, "little"),
        session,
        0,
        request,
        operation,
    )
    common = struct.pack(
        "<16s16x16s16x16x16sIIIIHBB12x",
        bytes(16),
        plain_checksum(body),
        node.cluster.to_bytes(16, "little"),
        HEAD_BYTES + len(body),
        0,
        0,
        RELEASE,
        0,
        command,
        0,
    )
    tail = common[16:] + own
    return plain_checksum(tail) + tail + body


class Peer:
    """A client of the test's own, which can misbehave."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, sent: bytes) -> tuple[bytes, bytes]:
        """Send a message; return head and body of the answer."""
        self.writer.write(sent)
        head = await self.reader.readexactly(HEAD_BYTES)
        (size,) = struct.unpack_from("<I", head, 96)
        return head, await self.reader.readexactly(size - HEAD_BYTES)

    async def is_sent_away(self, sent: bytes) -> bool:
        """Send bytes; tell whether the connection is closed without an answer."""
        self.writer.write(sent)
        with contextlib.suppress(ConnectionError):
            return await self.reader.read() == b""
        return True


@contextlib.asynccontextmanager
async def peer(node: Node) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    try:
        async with asyncio.timeout(20):
            yield Peer(reader, writer)
    finally:
        writer.close()


async def register(made: Peer, node: Node, client: int = CLIENT) -> int:
    head, body = await made.ask(message(node, Operation.REGISTER, bytes(256), client=client))
    assert head[114] == Command.REPLY
    assert struct.unpack_from("<I", body) == ((1 << 20) - 256,)
    (session,) = struct.unpack_from("<Q", head, 216)
    return int(session)


def two_accounts() -> bytes:
    accounts = [pack(Account(id_, ledger=1, code=1)) for id_ in (1, 2)]
    return one_batch(Operation.CREATE_ACCOUNTS, accounts)


def one_transfer(id_: int) -> bytes:
    packed = pack(Transfer(id_, 1, 2, 1, ledger=1, code=1))
    return one_batch(Operation.CREATE_TRANSFERS, packed)


async def test_a_request_that_is_sent_again_is_answered_and_not_done_again(node: Node) -> None:
    async with peer(node) as first:
        session = await register(first, node)
        await first.ask(message(node, 146, two_accounts(), session=session, request=1))
        sent = message(node, 147, one_transfer(5), session=session, request=2)
        _, once = await first.ask(sent)
    async with peer(node) as second:
        assert await register(second, node) == session
        head, again = await second.ask(sent)
    assert again == once
    assert head[128:144] == sent[:16], "the reply names the checksum of the request"
    await node.sleep()
    async with peer(node) as third:
        _, after_sleep = await third.ask(sent)
    assert after_sleep == once
    assert node.engine is not None
    (account,) = await node.engine.questions.lookup_accounts([1])
    assert account.debits_posted == 1


async def test_a_session_that_is_not_known_or_is_old_is_evicted(node: Node) -> None:
    async with peer(node) as made:
        head, _ = await made.ask(message(node, 146, two_accounts(), session=9, request=1))
        assert (head[114], head[255]) == (Command.EVICTION, 1)
    async with peer(node) as made:
        session = await register(made, node)
        head, _ = await made.ask(
            message(node, 140, join([b""], 16), session=session + 5, request=1)
        )
        assert (head[114], head[255]) == (Command.EVICTION, 1)
    async with peer(node) as made:
        await register(made, node, client=5)
        other = await register(made, node, client=6)
        sent = message(node, 140, join([b""], 16), session=other - 1, request=1, client=6)
        head, _ = await made.ask(sent)
        assert (head[114], head[255]) == (Command.EVICTION, 7)


@pytest.mark.parametrize(
    ("operation", "body", "reason"),
    [(200, b"", 4), (147, b"", 5), (147, bytes(128), 5), (147, bytes(100), 5), (144, bytes(64), 5)],
)
async def test_a_body_that_is_none_evicts_and_changes_nothing(
    node: Node, operation: int, body: bytes, reason: int
) -> None:
    async with peer(node) as made:
        session = await register(made, node)
        assert node.engine is not None
        before = node.engine.keeper.journal.sequence
        head, _ = await made.ask(message(node, operation, body, session=session, request=1))
        assert (head[114], head[255]) == (Command.EVICTION, reason)
        assert node.engine.keeper.journal.sequence == before


@pytest.mark.parametrize("at", [0, 20, 40, 100, 160, 196, 255, 300])
async def test_a_bit_that_flipped_on_the_way_closes_the_connection(node: Node, at: int) -> None:
    async with peer(node) as made:
        session = await register(made, node)
        sent = bytearray(message(node, 146, two_accounts(), session=session, request=1))
        sent[at] ^= 1
        assert await made.is_sent_away(bytes(sent))
    assert node.engine is not None
    assert await node.engine.questions.lookup_accounts([1, 2]) == []


@pytest.mark.parametrize(
    "garbage",
    [bytes(300), b"\xff" * 300, b"GET / HTTP/1.1\r\n\r\n" * 20, bytes(range(256)) * 2],
)
async def test_garbage_wakes_nothing(node: Node, garbage: bytes) -> None:
    async with peer(node) as made:
        assert await made.is_sent_away(garbage)
    assert node.wakes == 0


async def test_who_sends_byte_by_byte_is_sent_away(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "FIRST_MESSAGE_SECONDS", 0.3)
    sent = message(node, Operation.REGISTER, bytes(256), client=CLIENT)
    async with peer(node) as made:
        for number in range(256):
            made.writer.write(sent[number : number + 1])
            await asyncio.sleep(0.02)
            if made.reader.at_eof() or made.writer.is_closing():
                break
        assert await made.is_sent_away(b"")
    assert node.wakes == 0


async def test_a_ping_is_answered_without_waking_the_ledger(node: Node) -> None:
    client = CLIENT.to_bytes(16, "little")
    body = struct.pack("<16sQ104x", client, 123456789)
    sent = message(node, 0, b"", command=Command.PING_CLIENT)
    tail = sent[16:128] + body
    async with peer(node) as made:
        head, _ = await made.ask(plain_checksum(tail) + tail)
        assert head[114] == Command.PONG_CLIENT
        assert struct.unpack_from("<Q", head, 128) == (123456789,)
        assert head[:16] == plain_checksum(head[16:])
    assert node.wakes == 0


async def test_several_batches_in_one_message_are_apart(node: Node) -> None:
    async with peer(node) as made:
        session = await register(made, node)
        await made.ask(message(node, 146, two_accounts(), session=session, request=1))
        linked = [Transfer(id_, 1, 2, 1, ledger=1, code=1, flags=1) for id_ in (10, 11)]
        batches = [pack(linked[0]), b"", pack(Transfer(12, 1, 2, 1, ledger=1, code=1))]
        sent = message(node, 147, join(batches, 128), session=session, request=2)
        _, body = await made.ask(sent)
        assert body[-8:] == struct.pack("<4H", 1, 0, 1, 3)
        statuses = [each.status for each in unpack_results(body[:32])]
        assert statuses == [2, 0xFFFFFFFF]
        sparse = message(node, 139, join(batches, 128), session=session, request=3)
        _, body = await made.ask(sparse)
        assert bytes(only_batch(Operation.CREATE_TRANSFERS, join([body[:16]], 16))) == struct.pack(
            "<IIII", 0, 2, 0, 46
        )


async def test_only_so_many_sessions_are_remembered(node: Node) -> None:
    async with peer(node) as made:
        session = await register(made, node)
        for client in range(1000, 1064):
            await register(made, node, client=client)
        head, _ = await made.ask(message(node, 140, join([b""], 16), session=session, request=1))
        assert (head[114], head[255]) == (Command.EVICTION, 1)
