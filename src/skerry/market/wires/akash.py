"""Akash's shapes: its messages read, and what this market knows written in its JSON.

Numbers of 64 bits are text, prices are per block in the denomination of the order, and states have
Akash's names. Amounts of this market are micro-units of its own currency.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from skerry.kernel.errors import INVALID, UNSUPPORTED
from skerry.kernel.money import Rate
from skerry.kernel.names import did_you_mean
from skerry.market.core import messages as m
from skerry.market.core import prices
from skerry.market.core.entities import Bid, Deployment, Group, Lease, Order, Provider
from skerry.market.core.escrow import Account, Payment
from skerry.market.core.names import BidId, DeploymentId, GroupId, LeaseId, OrderId
from skerry.market.core.state import State
from skerry.market.core.states import Reason
from skerry.market.sdl.model import Attribute, GroupSpec, Resources, ResourceUnit

DENOM = "uact"
"""The denomination that stands for micro-units of the market's own currency."""


def read(shape: dict[str, Any]) -> m.AnyMessage:
    """Return the message that one of Akash's means; raise INVALID or UNSUPPORTED."""
    kind = str(shape.get("typeUrl", "")).rpartition(".")[2]
    value = shape.get("value")
    if not isinstance(value, dict):
        raise INVALID("The message has no value.")
    reader = _READERS.get(kind)
    if reader is None:
        why = did_you_mean(kind, _READERS)
        raise UNSUPPORTED(f"Messages of type {kind[:80]} are not understood.", why=why)
    try:
        return reader(value)
    except (KeyError, TypeError, ValueError) as error:
        raise INVALID(f"The {kind} is not well-formed.", why=str(error)) from error


def _bid_id(value: dict[str, Any]) -> BidId:
    return BidId(
        str(value["owner"]),
        int(value["dseq"]),
        int(value["gseq"]),
        int(value["oseq"]),
        str(value["provider"]),
        int(value.get("bseq") or 0),
    )


def _deployment_id(value: dict[str, Any]) -> DeploymentId:
    return DeploymentId(str(value["owner"]), int(value["dseq"]))


def _group_id(value: dict[str, Any]) -> GroupId:
    return GroupId(*_deployment_id(value), int(value["gseq"]))


def _reason(value: dict[str, Any]) -> Reason:
    found = value.get("reason") or Reason.UNSPECIFIED
    if isinstance(found, str) and not found.isdigit():
        return next(each for each in Reason if each.akash == found)
    return Reason(int(found))


_READERS: dict[str, Callable[[dict[str, Any]], m.AnyMessage]] = {
    "MsgCreateLease": lambda v: m.CreateLease(_bid_id(v["bidId"])),
    "MsgCloseLease": lambda v: m.CloseLease(_bid_id(v["id"])),
    "MsgCloseBid": lambda v: m.CloseBid(_bid_id(v["id"]), _reason(v)),
    "MsgWithdrawLease": lambda v: m.Withdraw(_bid_id(v["id"])),
    "MsgCloseDeployment": lambda v: m.CloseDeployment(_deployment_id(v["id"])),
    "MsgCloseGroup": lambda v: m.CloseGroup(_group_id(v["id"])),
    "MsgPauseGroup": lambda v: m.PauseGroup(_group_id(v["id"])),
    "MsgStartGroup": lambda v: m.StartGroup(_group_id(v["id"])),
}


def deployment_id(name: DeploymentId | GroupId | OrderId | BidId) -> dict[str, Any]:
    """Return the id of a deployment."""
    return {"owner": name.owner, "dseq": str(name.dseq)}


def group_id(name: GroupId | OrderId | BidId) -> dict[str, Any]:
    """Return the id of a group."""
    return {**deployment_id(name), "gseq": name.gseq}


def order_id(name: OrderId | BidId) -> dict[str, Any]:
    """Return the id of an order."""
    return {**group_id(name), "oseq": name.oseq}


def bid_id(name: BidId) -> dict[str, Any]:
    """Return the id of a bid or of a lease."""
    return {**order_id(name), "provider": name.provider, "bseq": name.bseq}


def price(rate: Rate) -> dict[str, str]:
    """Return a price per block."""
    return {"denom": DENOM, "amount": prices.decimal_per_block(rate)}


def coin(amount: int) -> dict[str, str]:
    """Return an amount as a decimal with 18 digits."""
    return {"denom": DENOM, "amount": f"{amount}.{'0' * 18}"}


def _attributes(found: tuple[Attribute, ...]) -> list[dict[str, str]]:
    return [{"key": each.key, "value": each.value} for each in found]


def resources(found: Resources) -> dict[str, Any]:
    """Return resources; amounts are bytes in protobuf, and base64 of their digits in its JSON."""
    return {
        "id": found.id,
        "cpu": {"units": _value(found.cpu_milli), "attributes": _attributes(found.cpu_attributes)},
        "memory": {"quantity": _value(found.memory_bytes), "attributes": []},
        "storage": [
            {
                "name": each.name,
                "quantity": _value(each.size_bytes),
                "attributes": _attributes(each.attributes),
            }
            for each in found.storage
        ],
        "gpu": {"units": _value(found.gpu_units), "attributes": _attributes(found.gpu_attributes)},
        "endpoints": [
            {"kind": _ENDPOINTS[each.kind], "sequence_number": each.sequence_number}
            for each in found.endpoints
        ],
    }


_ENDPOINTS = ("SHARED_HTTP", "RANDOM_PORT", "LEASED_IP")


def _value(amount: int) -> dict[str, str]:
    return {"val": base64.b64encode(str(amount).encode()).decode()}


def _unit(found: ResourceUnit) -> dict[str, Any]:
    limit = prices.per_block(found.amount)
    return {"resource": resources(found.resources), "count": found.count, "price": price(limit)}


def group_spec(found: GroupSpec) -> dict[str, Any]:
    """Return what a group asks for."""
    return {
        "name": found.name,
        "requirements": {
            "signed_by": {
                "all_of": list(found.signed_by_all),
                "any_of": list(found.signed_by_any),
            },
            "attributes": _attributes(found.attributes),
        },
        "resources": [_unit(each) for each in found.resources],
    }


def group(found: Group) -> dict[str, Any]:
    """Return a group."""
    return {
        "id": group_id(found.id),
        "state": found.state.value,
        "group_spec": group_spec(found.spec),
        "created_at": str(found.created_at),
    }


def deployment(state: State, found: Deployment) -> dict[str, Any]:
    """Return a deployment with its groups and its escrow."""
    return {
        "deployment": {
            "id": deployment_id(found.id),
            "state": found.state.value,
            "hash": base64.b64encode(bytes.fromhex(found.manifest_hash)).decode(),
            "created_at": str(found.created_at),
        },
        "groups": [group(state.groups[name]) for name in found.groups],
        "escrow_account": account(state.accounts[found.id], "deployment"),
    }


def order(found: Order) -> dict[str, Any]:
    """Return an order."""
    return {
        "id": order_id(found.id),
        "state": found.state.value,
        "spec": group_spec(found.group.spec),
        "created_at": str(found.created_at),
    }


def bid(state: State, found: Bid) -> dict[str, Any]:
    """Return a bid with the escrow of its deposit."""
    spec = state.groups[found.id.group].spec
    offer = [{"resources": resources(u.resources), "count": u.count} for u in spec.resources]
    return {
        "bid": {
            "id": bid_id(found.id),
            "state": found.state.value,
            "price": price(found.price),
            "created_at": str(found.created_at),
            "resources_offer": offer,
        },
        "escrow_account": {
            "id": {"scope": "bid", "xid": str(found.id)},
            "state": {
                "owner": found.id.provider,
                "state": "open" if found.state.value in ("open", "active") else "closed",
                "transferred": [],
                "settled_at": str(found.created_at),
                "funds": [coin(found.deposit)],
                "deposits": [],
            },
        },
    }


def lease(state: State, found: Lease) -> dict[str, Any]:
    """Return a lease with its payment."""
    paid = state.accounts[found.id.deployment].payments[str(found.id)]
    return {
        "lease": {
            "id": bid_id(found.id),
            "state": found.state.value,
            "price": price(found.price),
            "created_at": str(found.created_at),
            "closed_on": str(found.closed_at),
            "reason": found.reason.akash,
        },
        "escrow_payment": payment(found.id, paid),
    }


def payment(name: LeaseId, found: Payment) -> dict[str, Any]:
    """Return a lease's payment."""
    scope = {"scope": "deployment", "xid": str(name.deployment)}
    return {
        "id": {"aid": scope, "xid": f"{name.gseq}/{name.oseq}/{name.provider}"},
        "state": {
            "owner": found.owner,
            "state": found.state.value,
            "rate": price(found.rate),
            "balance": coin(found.balance),
            "unsettled": coin(found.unsettled),
            "withdrawn": {"denom": DENOM, "amount": str(found.withdrawn)},
        },
    }


def account(found: Account, scope: str) -> dict[str, Any]:
    """Return an escrow account."""
    return {
        "id": {"scope": scope, "xid": found.id},
        "state": {
            "owner": found.owner,
            "state": found.state.value,
            "transferred": [coin(found.transferred)],
            "settled_at": str(found.settled_at),
            "funds": [coin(found.funds)],
            "deposits": [
                {
                    "owner": each.owner,
                    "height": str(found.settled_at),
                    "source": each.source,
                    "balance": coin(each.balance),
                }
                for each in found.deposits
            ],
        },
    }


def provider(found: Provider) -> dict[str, Any]:
    """Return a provider."""
    return {
        "owner": found.address,
        "host_uri": found.url,
        "attributes": [{"key": k, "value": v} for k, v in sorted(found.attributes.items())],
        "info": {"email": "", "website": ""},
    }
