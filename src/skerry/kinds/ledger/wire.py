"""The ledger over HTTP and JSON, with a bearer token.

    POST /accounts              [account, …]    → [{"status": "created", "timestamp": "…"}, …]
    POST /transfers             [transfer, …]   → the same
    GET  /accounts/{id,…}       POST /accounts/lookup    [id, …]
    GET  /transfers/{id,…}      POST /transfers/lookup   [id, …]
    GET  /accounts?ledger=…     GET /transfers?code=…    query by filter
    GET  /accounts/{id}/transfers?limit=…&flags=debits
    GET  /accounts/{id}/balances
    GET  /changes?timestamp_min=…
    POST /packed/{operation}    a body of TigerBeetle's protocol → the body of its reply

Up to 8,189 at a time. Records and filters have TigerBeetle's fields; see `values` for how numbers
and flags are written. The cursor of a next page is `timestamp_min` (or `timestamp_max`).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from skerry.kernel.errors import INVALID, NOT_FOUND, TOO_LARGE, UNAUTHENTICATED, SkerryError
from skerry.kernel.kind import ASGIApplication
from skerry.kernel.ledger import (
    Account,
    AccountFilter,
    AccountStatus,
    ChangesFilter,
    QueryFilter,
    Transfer,
    TransferStatus,
)
from skerry.kinds.ledger.address import token
from skerry.kinds.ledger.engine import LedgerEngine
from skerry.kinds.ledger.questions import Questions
from skerry.kinds.ledger.values import parse, shown, shown_change, shown_result

BODY_MAX = 8 << 20
_BYTES, _JSON = b"application/octet-stream", b"application/json"
_PACKED = re.compile(r"/packed/(\d{1,3})")

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


def make(engine: LedgerEngine) -> ASGIApplication:
    """Return the ASGI application over an engine."""
    context = engine.context
    expected = token(context.id, context.keys).encode()

    async def serve(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            headers = dict(scope["headers"])
            scheme, _, presented = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(presented, expected):
                raise UNAUTHENTICATED(
                    "A bearer token is needed.", hint=f"skerry connect {context.ref.name}"
                )
            packed = _PACKED.fullmatch(scope["path"])
            if packed and scope["method"] == "POST":
                asked = await _bytes(receive)
                await _send(send, 200, await engine.carry(int(packed[1]), asked), _BYTES)
                return
            found = await _call(engine.questions, scope, receive)
            await _answer(send, 200, found)
        except SkerryError as error:
            await _answer(send, error.problem.http, error.as_dict())

    return serve


async def _call(ledger: Questions, scope: MutableMapping[str, Any], receive: Receive) -> Any:
    steps = [step for step in scope["path"].split("/") if step]
    if scope["method"] == "POST":
        return await _post(ledger, steps, await _body(receive))
    if scope["method"] == "GET":
        query = scope.get("query_string", b"").decode("utf-8", "replace")
        return await _get(ledger, steps, dict(parse_qsl(query)))
    raise INVALID(f"There is no {scope['method']} here; there are GET and POST.")


async def _post(ledger: Questions, steps: list[str], items: list[Any]) -> Any:
    match steps:
        case ["accounts"]:
            accounts = [parse(Account, each) for each in items]
            results = await ledger.create_accounts(accounts)
            return [shown_result(AccountStatus, each) for each in results]
        case ["transfers"]:
            transfers = [parse(Transfer, each) for each in items]
            results = await ledger.create_transfers(transfers)
            return [shown_result(TransferStatus, each) for each in results]
        case ["accounts", "lookup"]:
            return [shown(each) for each in await ledger.lookup_accounts(_ids(items))]
        case ["transfers", "lookup"]:
            return [shown(each) for each in await ledger.lookup_transfers(_ids(items))]
    raise NOT_FOUND(f"There is nothing to post to at /{'/'.join(steps)}.")


async def _get(ledger: Questions, steps: list[str], query: dict[str, str]) -> Any:
    match steps:
        case ["accounts"]:
            return [shown(each) for each in await ledger.query_accounts(parse(QueryFilter, query))]
        case ["transfers"]:
            found = await ledger.query_transfers(parse(QueryFilter, query))
            return [shown(each) for each in found]
        case ["accounts", id_, "transfers"]:
            wanted = parse(AccountFilter, {**query, "account_id": id_})
            return [shown(each) for each in await ledger.get_account_transfers(wanted)]
        case ["accounts", id_, "balances"]:
            wanted = parse(AccountFilter, {**query, "account_id": id_})
            return [shown(each) for each in await ledger.get_account_balances(wanted)]
        case ["accounts", ids]:
            return [shown(each) for each in await ledger.lookup_accounts(_ids(ids.split(",")))]
        case ["transfers", ids]:
            return [shown(each) for each in await ledger.lookup_transfers(_ids(ids.split(",")))]
        case ["changes"]:
            events = await ledger.get_change_events(parse(ChangesFilter, query))
            return [shown_change(each) for each in events]
    raise NOT_FOUND(f"There is nothing at /{'/'.join(steps)}.")


def _ids(items: list[Any]) -> list[int]:
    return [parse(Account, {"id": each}).id for each in items]


async def _bytes(receive: Receive) -> bytes:
    parts = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise INVALID("The request ended early.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_MAX:
            raise TOO_LARGE(f"A request is at most {BODY_MAX} bytes.")
        more = message.get("more_body", False)
    return b"".join(parts)


async def _body(receive: Receive) -> list[Any]:
    try:
        found = msgspec.json.decode(await _bytes(receive))
    except msgspec.DecodeError as error:
        raise INVALID("The body is not JSON.", why=str(error)) from error
    if not isinstance(found, list):
        raise INVALID("The body is a list.")
    return found


async def _answer(send: Send, status: int, found: Any) -> None:
    await _send(send, status, msgspec.json.encode(found), _JSON)


async def _send(send: Send, status: int, body: bytes, kind: bytes) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
