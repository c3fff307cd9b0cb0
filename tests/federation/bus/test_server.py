"""The server's process, its keys and its configuration."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import signal
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.ports import free_port

from skerry.federation.bus import nkeys
from skerry.federation.bus.bus import Bus, Place
from skerry.federation.bus.plan import Accounts, Neighbour, Plan, configuration, write_files
from skerry.federation.bus.server import Server, find_program
from skerry.federation.identity import Identity
from skerry.federation.peers import Door
from skerry.kernel.clock import SystemClock, SystemEntropy
from skerry.kernel.errors import ENGINE_FAILED, EXTRA_MISSING, SkerryError

from .conftest import until


def identity(folder: Path, name: str) -> Identity:
    return Identity.load(folder / f"{name}.pem", name, SystemClock())


def plan(folder: Path, *jurisdictions: str, own: str = "NO") -> tuple[Identity, Plan]:
    one = identity(folder, "one")
    found = []
    for number, jurisdiction in enumerate(jurisdictions):
        other = identity(folder, f"n{number}")
        door = Door("127.0.0.1", 1000 + number, 2000 + number)
        authority = other.authority().decode()
        found.append(
            Neighbour(other.id, f"n{number}", jurisdiction, other.public_key, authority, door)
        )
    door = Door("127.0.0.1", free_port(), free_port())
    members = tuple(each for each in found if each.jurisdiction == own)
    abroad = tuple(each for each in found if each.jurisdiction != own)
    return one, Plan("one", own, "127.0.0.1", door, members=members, abroad=abroad)


def claims(token: str) -> dict[str, object]:
    body = token.split(".")[1]
    found: dict[str, object] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found


def test_keys_are_written_as_nats_writes_them() -> None:
    # The user key of the nkeys documentation is not used: these come from its own decoding rules.
    for kind, letter in ((nkeys.OPERATOR, "O"), (nkeys.ACCOUNT, "A"), (nkeys.USER, "U")):
        public = random.Random(letter).randbytes(32)
        text = nkeys.encode(kind, public)
        assert (text[0], len(text)) == (letter, 56)
        data = base64.b32decode(text)
        assert (data[0], data[1:33]) == (kind, public)
        assert nkeys.seed(kind, public)[:2] == f"S{letter}"
    assert nkeys.nobodys("a") != nkeys.nobodys("b")


def test_tokens_are_signed_by_the_node_itself(tmp_path: Path) -> None:
    one = identity(tmp_path, "one")
    accounts = Accounts(one, "NO")
    token = accounts.operator()
    signed, _, signature = token.rpartition(".")
    key = Ed25519PublicKey.from_public_bytes(one.public_key)
    key.verify(base64.urlsafe_b64decode(signature + "=="), signed.encode())
    assert claims(token)["iss"] == nkeys.encode(nkeys.OPERATOR, one.public_key)
    user = nkeys.Key(bytes(range(32)))
    assert "issuer_account" in str(claims(accounts.user(accounts.inside, user)))
    assert bytes(range(32)).hex() not in repr(user)


def test_what_is_between_two_jurisdictions_is_in_no_account_of_either(tmp_path: Path) -> None:
    one, made = plan(tmp_path, "EU", "EU", "US", "NO")
    accounts = Accounts(one, "NO")
    found = configuration(made, accounts, tmp_path)
    assert set(found["resolver_preload"]) == {
        accounts.system,
        accounts.inside,
        accounts.between("EU"),
        accounts.between("US"),
    }
    inside = claims(found["resolver_preload"][accounts.inside])["nats"]
    assert isinstance(inside, dict)
    assert inside["signing_keys"] == [nkeys.encode(nkeys.ACCOUNT, one.public_key)]
    remotes = found["leafnodes"]["remotes"]
    assert [each["account"] for each in remotes] == [accounts.between("US")], "EU calls NO"
    assert found["jetstream"]["sync_interval"] == "always"
    assert found["cluster"]["no_advertise"]
    assert found["cluster"]["tls"]["verify"]
    alone = configuration(plan(tmp_path, "EU")[1], accounts, tmp_path)
    assert "jetstream" not in alone
    assert "cluster" not in alone


def test_files_are_this_users_alone(tmp_path: Path) -> None:
    one, made = plan(tmp_path, "EU", "NO")
    folder = tmp_path / "bus"
    folder.mkdir()
    write_files(made, Accounts(one, "NO"), one, SystemEntropy(), folder)
    assert {each.stat().st_mode & 0o777 for each in folder.iterdir()} == {0o600}
    assert "PRIVATE" not in (folder / "server.json").read_text()
    members = (folder / "members.pem").read_text()
    assert members.count("BEGIN CERTIFICATE") == 2, "this node and its one member"


async def test_the_server_starts_again_and_ends_with_its_node(tmp_path: Path) -> None:
    one, made = plan(tmp_path, "EU")
    folder = tmp_path / "bus"
    folder.mkdir()
    write_files(made, Accounts(one, "NO"), one, SystemEntropy(), folder)
    server = Server(folder)
    await server.start()
    first = server.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)

    async def again() -> bool:
        return server.pid not in (None, first) and server.starts == 2

    await until(again)
    await server.stop()
    assert server.pid is None

    script = (
        "import asyncio, pathlib, sys\n"
        "from skerry.federation.bus.server import Server\n"
        "async def main():\n"
        f"    server = Server(pathlib.Path({str(folder)!r}))\n"
        "    await server.start()\n"
        "    print(server.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    node = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
    )
    assert node.stdout is not None
    pid = int(await node.stdout.readline())
    node.kill()
    await node.wait()

    async def gone() -> bool:
        try:
            return "nats-server" not in Path(f"/proc/{pid}/cmdline").read_text()
        except FileNotFoundError:
            return True

    await until(gone)


async def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text('{"listen": "nowhere:x"}')
    with pytest.raises(SkerryError, match="does not start") as failed:
        await Server(tmp_path).start()
    assert "listen" in failed.value.why or "port" in failed.value.why


def test_a_missing_program_names_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(SkerryError) as missing:
        find_program()
    assert missing.value.problem is EXTRA_MISSING
    assert "pip install" in missing.value.hint


async def test_a_bus_whose_server_did_not_start_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, made = plan(tmp_path, "EU")
    place = Place("one", "NO", "127.0.0.1", made.door)
    bus = Bus(place, one, SystemClock(), SystemEntropy(), tmp_path / "bus", lambda: made.abroad)
    start = Server.start
    monkeypatch.setattr(Server, "start", _failing)
    with pytest.raises(SkerryError, match="not today"):
        await bus.start()
    assert not runs(bus)
    monkeypatch.setattr(Server, "start", start)
    await bus.start()
    try:
        assert runs(bus)
        held = await bus.audit()
        assert (held.node, held.bytes, held.streams) == ("one", 0, ())
        monkeypatch.setattr(Server, "restart", _failing)
        made = plan(tmp_path, "EU", "US")[1]
        with pytest.raises(SkerryError, match="not today"):
            await bus.refresh()
        assert not runs(bus)
        await bus.refresh()
        assert runs(bus)
    finally:
        await bus.stop()


def runs(bus: Bus) -> bool:
    return bus.server is not None


async def _failing(server: Server) -> None:
    raise ENGINE_FAILED("not today")
