"""Akash's Console API: five calls that deploy with nothing but HTTP and a key.

    POST   /v1/deployments {"data": {"sdl": …, "deposit": 5}}
    GET    /v1/bids?dseq=…
    POST   /v1/leases {"manifest": …, "leases": [{dseq, gseq, oseq, provider}]}
    GET    /v1/deployments/{dseq}
    DELETE /v1/deployments/{dseq}

The key (`x-api-key`) is the token of the node's operator. `deposit` is in whole units of the
market's currency. As in Akash, the caller chooses the bid: no order is cleared by itself.
"""

from __future__ import annotations

import hmac
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from skerry.kernel.errors import INVALID, UNAUTHENTICATED, SkerryError
from skerry.kernel.money import MICRO
from skerry.market.core import messages as m
from skerry.market.core.names import BidId, DeploymentId
from skerry.market.core.terms import Rule
from skerry.market.sdl.build import manifest_bytes
from skerry.market.wires import akash
from skerry.market.wires.asgi import body_of, guarded, json

PREFIX = "/market/console"
BODY_BYTES_MAX = 1 << 20


class Deployment(msgspec.Struct):
    """What is deployed."""

    sdl: str
    deposit: float = 5.0


class CreateDeployment(msgspec.Struct):
    """The body of a call that deploys."""

    data: Deployment


class LeaseChoice(msgspec.Struct):
    """A bid that is taken; numbers may be text, as the Console's clients send them."""

    dseq: int | str
    gseq: int
    oseq: int
    provider: str


class CreateLeases(msgspec.Struct):
    """The body of a call that takes bids."""

    leases: list[LeaseChoice]
    manifest: str = ""


def make(handler: Any) -> Starlette:
    """Make the application for the market's handler."""
    wire = _Wire(handler)
    routes = [
        Route("/v1/deployments", guarded(wire.create, _error), methods=["POST"]),
        Route("/v1/deployments/{dseq:int}", guarded(wire.show, _error), methods=["GET"]),
        Route("/v1/deployments/{dseq:int}", guarded(wire.close, _error), methods=["DELETE"]),
        Route("/v1/bids", guarded(wire.bids, _error)),
        Route("/v1/leases", guarded(wire.lease, _error), methods=["POST"]),
    ]
    return Starlette(routes=[Mount(PREFIX, routes=routes)])


def _error(error: SkerryError) -> Response:
    found = {
        "error": error.problem.summary,
        "message": f"{error.what} {error.why}".strip(),
        "code": error.code.lower(),
        "type": "server_error" if error.problem.http >= 500 else "client_error",
    }
    return json(found, error.problem.http)


class _Wire:
    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def _authenticate(self, request: Request) -> str:
        key = request.headers.get("x-api-key", "")
        if not hmac.compare_digest(key.encode(), self._handler.operator_token.encode()):
            raise UNAUTHENTICATED("The request has no valid x-api-key.")
        return str(self._handler.wallet.address)

    async def create(self, request: Request) -> Response:
        """Deploy; the manifest goes to whoever calls, and again with the leases."""
        owner = self._authenticate(request)
        wanted = await _read(request, CreateDeployment)
        try:
            deposit = int(Decimal(str(wanted.data.deposit)) * MICRO)
        except (InvalidOperation, OverflowError) as error:
            raise INVALID("The deposit is no amount.") from error
        tenant = self._handler.tenant
        plan = tenant.plan(wanted.data.sdl, clearing=Rule.MANUAL)
        deployment = await tenant.create(plan, deposit)
        manifest = manifest_bytes(plan.sdl.manifest).decode()
        signed = {"code": 0, "transactionHash": "", "rawLog": ""}
        data = {"dseq": str(deployment.dseq), "manifest": manifest, "signTx": signed}
        assert deployment.owner == owner
        return json({"data": data}, 201)

    async def bids(self, request: Request) -> Response:
        """List the bids on a deployment."""
        owner = self._authenticate(request)
        dseq = request.query_params.get("dseq", "")
        if not (dseq.isascii() and dseq.isdigit()):
            raise INVALID("The query wants dseq.")
        state = self._handler.exchange.state
        state.deployment(DeploymentId(owner, int(dseq)))
        found = [
            akash.bid(state, each)
            for each in state.bids.values()
            if each.id.owner == owner and each.id.dseq == int(dseq)
        ]
        return json({"data": found})

    async def lease(self, request: Request) -> Response:
        """Take bids, and send the manifest to their providers."""
        owner = self._authenticate(request)
        wanted = await _read(request, CreateLeases)
        if not wanted.leases or len({str(each.dseq) for each in wanted.leases}) != 1:
            raise INVALID("The leases are of one deployment, and at least one.")
        number = str(wanted.leases[0].dseq)
        if not (number.isascii() and number.isdigit()):
            raise INVALID("dseq is not a number.")
        deployment = DeploymentId(owner, int(number))
        if wanted.manifest:
            self._handler.tenant.check_manifest(deployment, wanted.manifest)
        bids = [BidId(*deployment, each.gseq, each.oseq, each.provider) for each in wanted.leases]
        exchange = self._handler.exchange
        await exchange.submit(owner, *map(m.CreateLease, bids))
        for each in bids:
            await self._handler.courier.deliver(exchange.state.leases[each])
        return json({"data": await self._shown(deployment)})

    async def show(self, request: Request) -> Response:
        """Show a deployment, its leases and how they fare."""
        owner = self._authenticate(request)
        deployment = DeploymentId(owner, request.path_params["dseq"])
        return json({"data": await self._shown(deployment)})

    async def close(self, request: Request) -> Response:
        """End a deployment; what is left of the money comes back."""
        owner = self._authenticate(request)
        deployment = DeploymentId(owner, request.path_params["dseq"])
        await self._handler.exchange.submit(owner, m.CloseDeployment(deployment))
        return json({"data": {"success": True}})

    async def _shown(self, name: DeploymentId) -> dict[str, Any]:
        state = self._handler.exchange.state
        found = akash.deployment(state, state.deployment(name))
        leases = []
        for each in state.leases_of(name):
            shown = akash.lease(state, each)["lease"]
            statuses = await self._handler.tenant.status_or_none(each)
            shown["status"] = None if statuses is None else {"services": statuses}
            leases.append(shown)
        return {**found, "leases": leases}


async def _read(request: Request, shape: type[Any]) -> Any:
    try:
        return msgspec.json.decode(await body_of(request, BODY_BYTES_MAX), type=shape)
    except msgspec.MsgspecError as error:
        raise INVALID("The body is not well-formed.", why=str(error)) from error
