"""Narrowing a token and looking at one: needs no node and no network."""

from __future__ import annotations

import base64
import binascii

from skerry.kernel.clock import SystemClock
from skerry.kernel.errors import INVALID
from skerry.node.token import biscuit
from skerry.node.token.limits import Limits, make
from skerry.node.token.service import Inspect, Inspected, Mint, Minted, Narrow


def limits_of(params: Mint | Narrow, now: int) -> Limits:
    """Return the limits that are wished for; `now` is in nanoseconds since 1970."""
    return make(
        now,
        app=params.app,
        branch=params.branch,
        resource=params.resource,
        verb=params.verb,
        country=params.country,
        price=params.price,
        until=params.until,
    )


def narrow(params: Narrow) -> Minted:
    """Return a token that allows less."""
    limits = limits_of(params, SystemClock().now())
    if limits == Limits():
        raise INVALID("Say what it is to be narrowed to.", hint="skerry token narrow --help")
    return minted(biscuit.narrow(params.token, limits))


def minted(text: str) -> Minted:
    """Return a token with what it is known by."""
    token = biscuit.read(text, None)
    return Minted(text, show_key(token.issuer), token.ids[-1])


def inspect(params: Inspect) -> Inspected:
    """Return what a token says; with a key, only if that key minted it."""
    key = None
    if params.key:
        try:
            key = base64.b64decode(params.key, validate=True)
        except binascii.Error as error:
            raise INVALID("The key is not base64.", hint="skerry token mint --json") from error
    token = biscuit.read(params.token, key)
    return Inspected(token.name, show_key(token.issuer), key is not None, token.ids, token.blocks)


def show_key(key: bytes) -> str:
    """Return a public key as it is shown."""
    return base64.b64encode(key).decode()
