"""Binding nodes: who gets in, who does not, and what they learn of each other."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from skerry.federation import listener, meeting
from skerry.federation.calls import address_of
from skerry.federation.identity import Identity, check_certificate
from skerry.federation.invitation import decode
from skerry.federation.messages import Greeting, Hello
from skerry.federation.peers import Peer
from skerry.federation.reaching import own_url
from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import SkerryError
from skerry.node.node import Node
from skerry.testing.nodes import deploy, perform

from .conftest import running

APP = {"skerry.toml": '[app]\nname = "shop"\n\n[kv.sessions]\n'}


async def bind(one: Node, other: Node) -> None:
    invited = await perform(one, "federation.invite")
    await perform(other, "federation.join", invitation=invited.invitation)


async def test_two_nodes_are_bound_and_see_each_other(top: Path) -> None:
    async with running(top / "a", "rock") as one, running(top / "b", "skerry", "FR") as other:
        await deploy(other, APP)
        await bind(one, other)
        for node, name in ((one, "skerry"), (other, "rock")):
            found = {each.name: each for each in await perform(node, "federation.nodes")}
            assert set(found) == {"rock", "skerry"}
            assert found[name].health == "well"
            assert found[name].ms is not None
        seen = {each.name: each for each in await perform(one, "federation.nodes")}["skerry"]
        assert (seen.country, seen.owner) == ("FR", "skerry AB")
        assert seen.holds == ("shop (kv)",)


async def test_a_binding_survives_a_restart(top: Path) -> None:
    async with running(top / "a", "rock") as one:
        async with running(top / "b", "skerry") as other:
            await bind(one, other)
        [_, gone] = await perform(one, "federation.nodes")
        assert "does not answer" in gone.health
        async with running(top / "b", "skerry") as other:
            [_, there] = await perform(other, "federation.nodes")
            assert there.health == "well"
            [_, back] = await perform(one, "federation.nodes")
            assert back.health == "well"


async def known_at(node: Node, name: str, url: str) -> None:
    """Wait until a node knows a peer at an address."""
    async with asyncio.timeout(10):
        while peer_of(node, name).card.url != url:
            await asyncio.sleep(0.02)


async def test_a_node_that_starts_on_another_port_is_found(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "FIRST_SECONDS", 0.05)
    async with running(top / "a", "rock") as one, running(top / "b", "skerry") as other:
        await bind(one, other)
    (top / "b" / "test-port").unlink()
    async with running(top / "b", "skerry") as other:
        url = other.services.handler("federation").card().url
        async with running(top / "a", "rock") as one:
            await known_at(one, "skerry", url)
            [_, back] = await perform(one, "federation.nodes")
            assert back.health == "well"


async def test_where_a_node_is_reached_is_told_and_kept(top: Path) -> None:
    async with running(top / "a", "rock") as one:
        async with running(top / "b", "skerry") as other:
            await bind(one, other)
            own = other.services.handler("federation").card().url
            url = own.replace("127.0.0.1", "localhost")
            await perform(other, "federation.invite", url=url)
            await known_at(one, "skerry", url)
            with pytest.raises(SkerryError, match="is not where"):
                await perform(other, "federation.invite", url="ftp://localhost")
        async with running(top / "b", "skerry") as other:
            assert other.services.handler("federation").card().url == url
            await perform(other, "federation.nodes")
            [_, back] = await perform(one, "federation.nodes")
            assert (back.health, back.url) == ("well", url)


async def test_a_node_that_listens_everywhere_says_where_it_is(top: Path) -> None:
    everywhere = '[federation]\nhost = "0.0.0.0"\n'
    async with running(top / "a", "rock", settings=everywhere) as one:
        assert one.host == "127.0.0.1"
        handler = one.services.handler("federation")
        with pytest.raises(SkerryError, match="Say where") as caught:
            await perform(one, "federation.invite")
        assert "--url" in caught.value.hint
        assert handler._listener.port == 0, "nothing was opened"
        url = f"https://localhost:{(top / 'a' / 'test-port').read_text()}"
        await perform(one, "federation.invite", url=url)
        assert handler._listener._server.sockets[0].getsockname()[0] == "0.0.0.0"
        async with running(top / "b", "skerry") as other:
            await bind(one, other)
            assert peer_of(other, "rock").card.url == url


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("192.0.2.7", 7880, "https://192.0.2.7:7880"),
        ("2001:db8::7", 7880, "https://[2001:db8::7]:7880"),
        ("::", 7880, ""),
        ("127.0.0.1", 0, ""),
    ],
)
def test_an_address_is_a_url(host: str, port: int, url: str) -> None:
    assert own_url(host, port) == url
    if url:
        assert address_of(url) == (host, port)


async def test_a_node_that_nobody_else_reaches_does_not_join(top: Path) -> None:
    async with running(top / "a", "rock") as one, running(top / "b", "skerry") as other:
        near = await perform(one, "federation.invite")
        assert "of this machine" in near.next
        far = await perform(one, "federation.invite", url="https://rock.invalid:7880")
        assert "of this machine" not in far.next
        with pytest.raises(SkerryError, match="Say where") as caught:
            await perform(other, "federation.join", invitation=far.invitation)
        assert "rock.invalid" in caught.value.why
        handler = other.services.handler("federation")
        assert (handler._listener.port, list(handler.peers)) == (0, [])


async def test_an_invitation_is_used_once(top: Path) -> None:
    async with (
        running(top / "a", "rock") as one,
        running(top / "b", "skerry") as other,
        running(top / "c", "shoal") as third,
    ):
        invited = await perform(one, "federation.invite")
        await perform(other, "federation.join", invitation=invited.invitation)
        with pytest.raises(SkerryError, match="not open"):
            await perform(third, "federation.join", invitation=invited.invitation)
        with pytest.raises(SkerryError, match="no invitation"):
            await perform(third, "federation.join", invitation=invited.invitation[:-9])
        with pytest.raises(SkerryError, match="itself"):
            await perform(one, "federation.join", invitation=invited.invitation)
        assert len(await perform(third, "federation.nodes")) == 1
        assert len(await perform(one, "federation.nodes")) == 2


async def test_a_node_of_the_same_name_does_not_join(top: Path) -> None:
    async with running(top / "a", "rock") as one, running(top / "b", "rock") as other:
        with pytest.raises(SkerryError, match="named rock"):
            await bind(one, other)
        assert len(await perform(one, "federation.nodes")) == 1


async def test_a_revoked_node_gets_nothing(top: Path) -> None:
    async with running(top / "a", "rock") as one, running(top / "b", "skerry") as other:
        await bind(one, other)
        await perform(one, "federation.revoke", name="skerry")
        [_, refused] = await perform(other, "federation.nodes")
        assert refused.health != "well"
        assert refused.holds == ()
        with pytest.raises(SkerryError, match="revoked"):
            await bind(one, other)


def peer_of(node: Node, name: str) -> Peer:
    found: Peer = node.services.handler("federation").peers.find(name)
    return found


async def test_strangers_and_impostors_get_nothing(top: Path, tmp_path: Path) -> None:
    async with (
        running(top / "a", "rock") as one,
        running(top / "b", "skerry") as other,
        running(top / "c", "shoal") as third,
    ):
        await bind(one, other)
        await bind(one, third)
        peer = peer_of(other, "rock")
        stranger = Identity.load(tmp_path / "key", "stranger", SystemClock())
        handler = other.services.handler("federation")
        greet = Hello(handler.card())

        handler.calls._identity = stranger
        with pytest.raises(SkerryError) as caught:
            await handler.calls.ask(peer, "/hello", greet, Greeting)
        assert caught.value.code in ("NODE_UNREACHABLE", "UNAUTHENTICATED")

        impostor = third.services.handler("federation").identity
        impostor.id = handler.identity.id
        handler.calls._identity = impostor
        with pytest.raises(SkerryError) as caught:
            await handler.calls.ask(peer, "/hello", greet, Greeting)
        assert caught.value.code in ("NODE_UNREACHABLE", "UNAUTHENTICATED")


async def test_a_client_without_a_certificate_gets_nothing(top: Path) -> None:
    async with running(top / "a", "rock") as one:
        invited = await perform(one, "federation.invite")
        port = int(decode(invited.invitation).url.rpartition(":")[2])

        def ask(path: str, body: bytes) -> bytes:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with (
                socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
                context.wrap_socket(plain) as tls,
            ):
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                tls.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                return b"".join(iter(lambda: tls.recv(65536), b""))

        assert b" 401 " in await asyncio.to_thread(ask, "/hello", b"{}")
        assert b" 400 " in await asyncio.to_thread(ask, "/join", b"garbage")

        def garbage() -> bytes:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
                plain.sendall(bytes(range(256)) * 8)
                plain.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: plain.recv(65536), b""))

        assert b"HTTP" not in await asyncio.to_thread(garbage)
        assert len(await perform(one, "federation.nodes")) == 1


async def test_strangers_that_say_nothing_keep_nobody_out(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "STRANGERS_MAX", 2)
    monkeypatch.setattr(listener, "STRANGER_SECONDS", 1.0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with running(top / "a", "rock") as one, running(top / "b", "skerry") as other:
        await bind(one, other)
        port = one.services.handler("federation")._listener.port
        silent = [await asyncio.open_connection("127.0.0.1", port, ssl=context) for _ in range(3)]
        async with asyncio.timeout(10):
            assert await ended(silent[2][0]), "there were two already"
            there = {each.name: each for each in await perform(other, "federation.nodes")}
            assert there["rock"].health == "well"
            assert await ended(silent[0][0])
            assert await ended(silent[1][0])
        for _, writer in silent:
            writer.close()


async def ended(reader: asyncio.StreamReader) -> bool:
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    return True


def test_a_node_cannot_sign_for_another(tmp_path: Path) -> None:
    clock = SystemClock()
    one = Identity.load(tmp_path / "one", "rock", clock)
    other = Identity.load(tmp_path / "other", "skerry", clock)
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o600
    again = Identity.load(tmp_path / "one", "rock", clock)
    assert again.id == one.id
    certificate = x509.load_pem_x509_certificate(one.certificate())
    der = certificate.public_bytes(serialization.Encoding.DER)
    check_certificate(der, one.public_key)
    with pytest.raises(SkerryError):
        check_certificate(der, other.public_key)


async def test_nothing_listens_without_a_federation(top: Path) -> None:
    async with running(top / "a", "rock") as one:
        assert one.services.handler("federation")._listener.port == 0
