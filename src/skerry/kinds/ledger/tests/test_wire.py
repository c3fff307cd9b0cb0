"""HTTP and JSON, the binding, the words, and exports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skerry.kernel.errors import CONFLICT, INVALID, NOT_FOUND, TOO_LARGE, SkerryError
from skerry.kernel.kind import Head
from skerry.kernel.ledger import AccountStatus, TransferStatus
from skerry.kinds.ledger import checks, remote
from skerry.kinds.ledger import manifest as m
from skerry.kinds.ledger.address import claim, token
from skerry.kinds.ledger.binding import Ledger, bind
from skerry.kinds.ledger.engine import LedgerEngine
from skerry.kinds.ledger.tests.harness import started
from skerry.kinds.ledger.wire import make
from skerry.testing.hosts import KEYS, RESOURCE_ID, Tally, served
from skerry.testing.tunnels import Tunnelled, tunnel

BIG = 2**100 + 1


class Caller:
    """Calls the ASGI application."""

    def __init__(self, engine: LedgerEngine) -> None:
        self._application = make(engine)
        self.bearer = f"Bearer {token(RESOURCE_ID, KEYS)}"

    async def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        sent: list[Any] = []
        path, _, query = path.partition("?")
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()

        async def receive() -> Any:
            return {"type": "http.request", "body": raw, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(b"authorization", self.bearer.encode())],
        }
        await self._application(scope, receive, send)
        return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.fixture
def call(engine: LedgerEngine) -> Caller:
    return Caller(engine)


@pytest.fixture
async def books(engine: LedgerEngine) -> AsyncIterator[Ledger]:
    made = await bind(engine.context)
    await open_accounts(made)
    yield made
    await made.close()


@pytest.fixture(params=["here", "elsewhere"])
async def either(request: Any, engine: LedgerEngine, folder: Path) -> AsyncIterator[Ledger]:
    async with served(make(engine)) as port, tunnel(folder / "away.sock", port):
        context = replace(engine.context, host=Tunnelled(folder / "away.sock"))
        there = request.param == "elsewhere"
        made = await (remote.bind(context) if there else bind(engine.context))
        await open_accounts(made)
        yield made
        await made.close()


async def open_accounts(made: Ledger) -> None:
    accounts: list[Any] = [
        {"id": 1, "ledger": 978, "code": 1},
        {"id": BIG, "ledger": 978, "code": 2, "flags": ["history"]},
    ]
    results = await made.create_accounts(accounts)
    assert [each.status for each in results] == [AccountStatus.CREATED] * 2


def move(amount: Any, **fields: Any) -> dict[str, Any]:
    return {
        "debit_account_id": 1,
        "credit_account_id": str(BIG),
        "amount": amount,
        "ledger": 978,
        "code": 7,
        **fields,
    }


async def test_a_function_keeps_books(either: Ledger, engine: LedgerEngine) -> None:
    pending, other = either.id(), either.id()
    assert pending < other < 2**128
    results = await either.create_transfers(
        [
            move(100, id=pending, flags=["pending"], timeout=60),
            move(2**90, id=other),
            move(0, id=5, pending_id=pending, flags="void_pending_transfer", ledger=0, code=0)
            | {"debit_account_id": 0, "credit_account_id": 0},
        ]
    )
    assert [each.status for each in results] == [TransferStatus.CREATED] * 3
    (account,) = await either.lookup_accounts([BIG])
    assert (account.credits_posted, account.credits_pending) == (2**90, 0)
    found = await either.get_account_transfers({"account_id": BIG, "flags": ["credits"]})
    assert [each.amount for each in found] == [100, 2**90, 100]
    balances = await either.get_account_balances({"account_id": BIG})
    assert [each.credits_pending for each in balances] == [100, 100, 0]
    assert len(await either.query_transfers({"code": 7, "limit": 2})) == 2
    assert [each.id for each in await either.query_accounts({"code": 2})] == [BIG]
    assert len(await either.get_change_events({})) == 3
    assert isinstance(engine.context.meter, Tally)
    assert engine.context.meter.counts["transfers"] == 3


async def test_a_function_is_told_what_is_wrong_and_goes_on(either: Ledger) -> None:
    oddities: list[Any] = [
        {"id": 1, "colour": "red"},
        {"id": -1},
        {"id": 2**128},
        {"id": "x"},
        {"id": 1.5},
        {"id": 7, "code": 2**16},
        {"id": 7, "flags": ["curly"]},
        {},
        [],
    ]
    for wrong in oddities:
        with pytest.raises(SkerryError) as told:
            await either.create_transfers([wrong])
        assert told.value.problem is INVALID, wrong
    with pytest.raises(SkerryError) as told:
        await either.lookup_accounts([1] * 8190)
    assert told.value.problem is TOO_LARGE
    assert len(await either.lookup_accounts([1])) == 1


async def test_a_function_outlives_the_restart_of_the_engine(
    books: Ledger, engine: LedgerEngine
) -> None:
    await asyncio.gather(*(books.create_transfers([move(1, id=10 + at)]) for at in range(40)))
    await engine.stop()
    again = await started(engine.context)
    (account,) = await books.lookup_accounts([1])
    assert account.debits_posted == 40
    await again.stop()


async def test_json_in_and_out(call: Caller) -> None:
    accounts = [{"id": 1, "ledger": 978, "code": 1}, {"id": str(BIG), "ledger": 978, "code": 1}]
    status, told = await call("POST", "/accounts", accounts)
    assert (status, [each["status"] for each in told]) == (200, ["created", "created"])
    status, told = await call("POST", "/transfers", [move("300", id=7), move(1, id=7), move(1)])
    assert status == 400, "a transfer without an id"
    status, told = await call("POST", "/transfers", [move("300", id=7), move(1, id=7)])
    assert [each["status"] for each in told] == ["created", "exists_with_different_amount"]
    _, (account, _) = await call("GET", f"/accounts/{BIG},1")
    assert account["credits_posted"] == "300"
    _, found = await call("GET", f"/accounts/{BIG}/transfers?flags=credits,reversed&limit=5")
    assert [(each["id"], each["amount"]) for each in found] == [("7", "300")]
    assert await call("GET", f"/accounts/{BIG}/balances") == (200, [])
    _, found = await call("GET", "/transfers?code=7")
    assert found == (await call("GET", "/transfers/7"))[1]
    assert (await call("POST", "/transfers/lookup", [7, "8"]))[1] == found
    assert len((await call("POST", "/accounts/lookup", ["1"]))[1]) == 1
    _, (change,) = await call("GET", "/changes")
    assert change["type"] == "single_phase"
    assert change["debit_account"]["debits_posted"] == "300"
    assert len((await call("GET", "/accounts?ledger=978"))[1]) == 2


async def test_what_is_no_request_is_told_in_json(call: Caller) -> None:
    for method, path, body, wanted in (
        ("POST", "/accounts", b"{", 400),
        ("POST", "/accounts", {"id": 1}, 400),
        ("POST", "/accounts", ["x"], 400),
        ("POST", "/elsewhere", [], 404),
        ("POST", "/packed/2", b"", 400),
        ("POST", "/packed/128", b"", 400),
        ("POST", "/packed/146", b"no trailer", 400),
        ("GET", "/packed/146", None, 404),
        ("GET", "/elsewhere", None, 404),
        ("GET", "/transfers?colour=red", None, 400),
        ("GET", "/accounts/x", None, 400),
        ("DELETE", "/accounts", None, 400),
        ("POST", "/accounts", [{"id": at} for at in range(8190)], 413),
    ):
        status, told = await call(method, path, body)
        assert (status, bool(told["what"])) == (wanted, True), path
    call.bearer = "Bearer skt_00000000deadbeef_wrong"
    assert (await call("GET", "/accounts"))[0] == 401


def test_a_request_is_claimed_by_its_token() -> None:
    def head(text: bytes) -> Head:
        return Head(b"GET", b"/", b"", ((b"authorization", text),))

    assert claim(head(b"Bearer skt_00000000deadbeef_abc")) == RESOURCE_ID
    assert claim(head(b"Bearer skt_1_abc")) is None


async def test_the_words(engine: LedgerEngine) -> None:
    for account, flags in (("1", ""), (str(BIG), "history,credits-must-not-exceed-debits")):
        params = m.OpenParams(account, 978, flags=flags)
        assert (await engine.word_open(params)).status == "created"
        assert (await engine.word_open(params)).status == "exists"
    with pytest.raises(SkerryError) as told:
        await engine.word_transfer(m.TransferParams("1", str(BIG), "5", 978))
    assert told.value.problem is CONFLICT
    assert "exceeds_debits" in told.value.what
    made = await engine.word_transfer(m.TransferParams(str(BIG), "1", "5", 978, id="9"))
    assert (made.id, made.status) == ("9", "created")
    assert len(await engine.word_accounts(m.AccountsParams())) == 2
    assert len(await engine.word_accounts(m.AccountsParams(id="1,2"))) == 1
    (row,) = await engine.word_transfers(m.TransfersParams(account="1", reversed=True))
    assert row["amount"] == "5"
    assert await engine.word_transfers(m.TransfersParams(id="9")) == [row]
    assert await engine.word_transfers(m.TransfersParams(ledger=978)) == [row]
    (row,) = await engine.word_balances(m.BalancesParams(str(BIG)))
    assert row["debits_posted"] == "5"
    (row,) = await engine.word_balances(m.BalancesParams("1"))
    assert row["credits_posted"] == "5"
    with pytest.raises(SkerryError) as told:
        await engine.word_balances(m.BalancesParams("77"))
    assert told.value.problem is NOT_FOUND


async def test_an_export_holds_all_and_comes_back_whole(
    books: Ledger, engine: LedgerEngine, tmp_path: Path
) -> None:
    await books.create_transfers(
        [
            move(100, id=50, flags=["pending"], timeout=3600),
            move(7, id=51),
            move(60, id=52, pending_id=50, flags="post_pending_transfer"),
            move(1, id=53, debit_account_id=99),
            move(5, id=54, flags=["pending"]),
        ]
    )
    await engine.export(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"{each}.ndjson" for each in ("accounts", "transfers", "burned", "movements")}
    before = await engine.status()
    await books.create_transfers([move(9, id=60)])
    await engine.restore(tmp_path)
    assert (await engine.status())["digest"] == before["digest"]
    results = await books.create_transfers([move(1, id=53), move(7, id=51)])
    assert results[0].status == TransferStatus.ID_ALREADY_FAILED
    assert results[1].status == TransferStatus.EXISTS
    await engine.stop()
    again = await started(engine.context)
    assert await books.lookup_transfers([60]) == []
    assert len(await books.get_account_balances({"account_id": BIG})) == 4
    await again.stop()


async def test_what_is_no_export_changes_nothing(
    books: Ledger, engine: LedgerEngine, tmp_path: Path
) -> None:
    await books.create_transfers([move(7, id=51)])
    await engine.export(tmp_path)
    before = await engine.status()
    good = (tmp_path / "accounts.ndjson").read_text()
    for name, text in (
        ("accounts.ndjson", good.replace('"debits_posted":"7"', '"debits_posted":"8"')),
        ("accounts.ndjson", "{"),
        ("transfers.ndjson", '{"id": "1", "fate": "odd"}'),
        ("movements.ndjson", "[]"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(SkerryError) as told:
            await engine.restore(tmp_path)
        assert told.value.problem is INVALID, name
        assert (await engine.status())["digest"] == before["digest"]
        (tmp_path / "accounts.ndjson").write_text(good)


def test_the_doctor_tells_which_machine_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = checks.checks()
    assert found.name == "ledger"
    monkeypatch.setattr(checks, "_CACHE", Path("/nowhere"))
    monkeypatch.setattr(checks, "has_compiler", lambda: True)
    (found,) = checks.checks()
    assert (found.ok, found.hint) == (True, "python -m skerry.kinds.ledger.compiled")
    monkeypatch.setattr(checks, "has_compiler", lambda: False)
    (found,) = checks.checks()
    assert (found.ok, found.hint) == (False, "pip install 'skerry[ledger]'")
