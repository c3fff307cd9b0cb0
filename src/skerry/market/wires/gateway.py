"""Akash's chain queries, as its gRPC gateway serves them: JSON over HTTP, without a token.

On Akash everything on the chain is public. Here too: orders, bids, leases and providers, by address
and price; never a manifest, an environment or a log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skerry.kernel.errors import INVALID, NOT_FOUND, SkerryError
from skerry.market.core.names import BidId, DeploymentId, GroupId, OrderId
from skerry.market.core.state import BID_DEPOSIT, BIDS_MAX, State
from skerry.market.wires import akash
from skerry.market.wires.asgi import guarded, json

PAGE_MAX = 1000
PAGE = 100
MARKET, DEPLOYMENT = "/akash/market/{version}", "/akash/deployment/{version}"
PROVIDER, AUDIT = "/akash/provider/{version}", "/akash/audit/{version}"

# The codes of gRPC, by which its gateway reports errors in JSON.
_CODES = {400: 3, 404: 5, 409: 9, 403: 7, 401: 16, 503: 14}


def make(handler: Any) -> Starlette:
    """Make the application for the market's handler."""
    wire = _Wire(handler)
    known: dict[str, Callable[[Request], Any]] = {
        f"{MARKET}/orders/list": wire.orders,
        f"{MARKET}/orders/info": wire.order,
        f"{MARKET}/bids/list": wire.bids,
        f"{MARKET}/bids/info": wire.bid,
        f"{MARKET}/leases/list": wire.leases,
        f"{MARKET}/leases/info": wire.lease,
        f"{MARKET}/params": wire.market_params,
        f"{DEPLOYMENT}/deployments/list": wire.deployments,
        f"{DEPLOYMENT}/deployments/info": wire.deployment,
        f"{DEPLOYMENT}/groups/info": wire.group,
        f"{PROVIDER}/providers": wire.providers,
        f"{PROVIDER}/providers/{{owner}}": wire.provider,
        f"{AUDIT}/audit/attributes/{{owner}}/list": wire.signed,
    }

    def route(path: str, query: Callable[[Request], Any]) -> Route:
        async def answer(request: Request) -> Response:
            return json(query(request))

        return Route(path, guarded(answer, _error))

    async def nothing(request: Request) -> Response:
        raise NOT_FOUND(f"There is no query {request.url.path[:200]}.")

    routes = [route(path, query) for path, query in known.items()]
    return Starlette(routes=[*routes, Route("/akash/{path:path}", guarded(nothing, _error))])


def _error(error: SkerryError) -> Response:
    status = error.problem.http
    text = f"{error.what} {error.why}".strip()
    body = {"code": _CODES.get(status, 13), "message": text, "details": []}
    return Response(msgspec.json.encode(body), status, media_type="application/json")


class _Filters:
    """What a list is narrowed to: `filters.owner`, `filters.dseq`, … and `pagination.*`."""

    def __init__(self, request: Request) -> None:
        self._query = request.query_params
        self.owner = self._query.get("filters.owner", "")
        self.provider = self._query.get("filters.provider", "")
        self.state = self._query.get("filters.state", "")
        self.limit = min(self.number("pagination.limit") or PAGE, PAGE_MAX)
        self.offset = self.number("pagination.offset") or self.number("pagination.key")
        self.wants_total = self._query.get("pagination.count_total", "") == "true"
        self._numbers = {name: self.number(f"filters.{name}") for name in ("dseq", "gseq", "oseq")}

    def number(self, name: str) -> int:
        """Return a number of the query; 0 if it is not there."""
        text = self._query.get(name, "") or "0"
        if not (text.isascii() and text.isdigit() and len(text) <= 19):
            raise INVALID(f"{name} is not a number.")
        return int(text)

    def fit(self, name: Any, state: str) -> bool:
        """Tell whether something of a name and a state is asked for."""
        if self.owner and name.owner != self.owner:
            return False
        if self.provider and getattr(name, "provider", self.provider) != self.provider:
            return False
        if self.state and state != self.state:
            return False
        return all(
            not wanted or getattr(name, part, wanted) == wanted
            for part, wanted in self._numbers.items()
        )

    def page(self, key: str, found: Iterable[Any], show: Callable[[Any], Any]) -> dict[str, Any]:
        """Return one page of a list."""
        chosen = list(found) if self.wants_total else None
        source = iter(chosen if chosen is not None else found)
        shown = list(islice(source, self.offset, self.offset + self.limit + 1))
        more = len(shown) > self.limit
        return {
            key: [show(each) for each in shown[: self.limit]],
            "pagination": {
                "next_key": str(self.offset + self.limit) if more else None,
                "total": str(len(chosen)) if chosen is not None else "0",
            },
        }


class _Wire:
    def __init__(self, handler: Any) -> None:
        self._handler = handler

    @property
    def _state(self) -> State:
        state: State = self._handler.exchange.state
        return state

    def orders(self, request: Request) -> Any:
        filters = _Filters(request)
        found = (o for o in self._state.orders.values() if filters.fit(o.id, o.state.value))
        return filters.page("orders", found, akash.order)

    def order(self, request: Request) -> Any:
        return {"order": akash.order(self._state.order(OrderId(*_id(request, 4))))}

    def bids(self, request: Request) -> Any:
        filters, state = _Filters(request), self._state
        found = (b for b in state.bids.values() if filters.fit(b.id, b.state.value))
        return filters.page("bids", found, lambda each: akash.bid(state, each))

    def bid(self, request: Request) -> Any:
        return akash.bid(self._state, self._state.bid(_bid_id(request)))

    def leases(self, request: Request) -> Any:
        filters, state = _Filters(request), self._state
        found = (e for e in state.leases.values() if filters.fit(e.id, e.state.value))
        return filters.page("leases", found, lambda each: akash.lease(state, each))

    def lease(self, request: Request) -> Any:
        return akash.lease(self._state, self._state.lease(_bid_id(request)))

    def deployments(self, request: Request) -> Any:
        filters, state = _Filters(request), self._state
        found = (d for d in state.deployments.values() if filters.fit(d.id, d.state.value))
        return filters.page("deployments", found, lambda each: akash.deployment(state, each))

    def deployment(self, request: Request) -> Any:
        state = self._state
        return akash.deployment(state, state.deployment(DeploymentId(*_id(request, 2))))

    def group(self, request: Request) -> Any:
        return {"group": akash.group(self._state.group(GroupId(*_id(request, 3))))}

    def providers(self, request: Request) -> Any:
        filters = _Filters(request)
        return filters.page("providers", self._state.providers.values(), akash.provider)

    def provider(self, request: Request) -> Any:
        return {"provider": akash.provider(self._state.provider(request.path_params["owner"]))}

    def signed(self, request: Request) -> Any:
        provider = self._state.provider(request.path_params["owner"])
        found = [
            {
                "owner": provider.address,
                "auditor": auditor,
                "attributes": [{"key": k, "value": v} for k, v in sorted(values.items())],
            }
            for auditor, values in sorted(provider.signed.items())
        ]
        return {"providers": found, "pagination": {"next_key": None, "total": str(len(found))}}

    def market_params(self, _request: Request) -> Any:
        deposit = {"denom": akash.DENOM, "amount": str(BID_DEPOSIT)}
        return {"params": {"bid_min_deposits": [deposit], "order_max_bids": BIDS_MAX}}


def _id(request: Request, parts: int) -> tuple[Any, ...]:
    """Return the parts of an id: an owner and sequence numbers."""
    query = request.query_params
    names = ("dseq", "gseq", "oseq")[: parts - 1]
    try:
        return (query["id.owner"], *(int(query[f"id.{name}"]) for name in names))
    except (KeyError, ValueError) as error:
        raise INVALID(f"The id wants id.owner and id.{', id.'.join(names)}.") from error


def _bid_id(request: Request) -> BidId:
    owner, dseq, gseq, oseq = _id(request, 4)
    bseq = request.query_params.get("id.bseq", "0")
    if not bseq.isdigit():
        raise INVALID("id.bseq is not a number.")
    return BidId(owner, dseq, gseq, oseq, request.query_params.get("id.provider", ""), int(bseq))
