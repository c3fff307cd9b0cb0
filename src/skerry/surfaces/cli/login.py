"""`skerry login` and `logout`: a log-in by the node's identity provider, by way of a browser.

The browser is sent to the node, which sends it to the provider. When it comes back the node gives
it a code for this command, which changes the code and a verifier (PKCE) into a token. The code
comes to a port of this machine, or is copied by hand where the browser runs elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

import click
import msgspec

from skerry.kernel.clock import SystemEntropy
from skerry.kernel.errors import (
    NODE_UNREACHABLE,
    TIMED_OUT,
    UNAUTHENTICATED,
    SkerryError,
    from_dict,
)
from skerry.surfaces.cli.base import SkerryCommand
from skerry.surfaces.cli.call import Call
from skerry.surfaces.cli.console import has_display
from skerry.surfaces.cli.logins import keep, kept

WAIT_SECONDS = 300.0
_ANSWER_SECONDS = 30.0
_ANSWER_BYTES_MAX = 1 << 20
_PAGE = b"<!doctype html><title>Logged in</title><p>You are logged in; this page can be closed."


@click.command("login", cls=SkerryCommand)
@click.option("--paste", is_flag=True, help="copy the code by hand: the browser runs elsewhere")
@click.option("--print", "only_print", is_flag=True, help="print the address, open nothing")
@click.pass_obj
def login(call: Call, paste: bool, only_print: bool) -> None:
    """Log in to a node by its identity provider.

    The token is kept in your configuration folder, and used wherever the node's address is given
    and SKERRY_TOKEN is not set.
    """
    base = base_of(call)
    verifier = SystemEntropy().bytes(32).hex()
    code = pasted(call, base, verifier) if paste else received(call, base, verifier, only_print)
    found = post(base, "/login/token", urlencode({"code": code, "verifier": verifier}), {})
    keep(base, str(found["token"]))
    if call.out.json:
        call.out.data({"node": base, "kept": True})
        return
    call.out.result(f"✓ Logged in to {base}.")


@click.command("logout", cls=SkerryCommand)
@click.pass_obj
def logout(call: Call) -> None:
    """End a log-in: the node refuses its token from now on."""
    base = base_of(call)
    token = kept(base)
    if not token:
        raise UNAUTHENTICATED(f"There is no log-in for {base}.", hint=f"skerry login --node {base}")
    try:
        post(base, "/login/end", "", {"Authorization": f"Bearer {token}"})
    except SkerryError as error:
        if error.problem is not UNAUTHENTICATED:
            raise
        # The node refuses it already: there is nothing to end there.
    keep(base, "")
    if call.out.json:
        call.out.data({"node": base, "ended": True})
        return
    call.out.result(f"✓ Logged out of {base}.")


def base_of(call: Call) -> str:
    """Return the address of the node that is meant."""
    return call.client.url or str(call.client.call("node.status", {})["http"]).rstrip("/")


def address(base: str, verifier: str, port: int | None) -> str:
    """Return where a browser begins the log-in."""
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    said = {"challenge": challenge} | ({"port": str(port)} if port else {})
    return f"{base}/login/provider?{urlencode(said)}"


def pasted(call: Call, base: str, verifier: str) -> str:
    """Return the code that a person copies from the browser."""
    call.out.remark(f"Open {address(base, verifier, None)}")
    return str(click.prompt("code", err=True, hide_input=True)).strip()


def received(call: Call, base: str, verifier: str, only_print: bool) -> str:
    """Return the code that the browser brings to a port of this machine; raises TIMED_OUT."""
    codes: list[str] = []

    class Arriving(BaseHTTPRequestHandler):
        timeout = 10.0

        def do_GET(self) -> None:
            codes.extend(parse_qs(urlsplit(self.path).query).get("code", [])[:1])
            self.send_response(200 if codes else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(_PAGE if codes else b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing: the request line holds the code."""

    with HTTPServer(("127.0.0.1", 0), Arriving) as server:
        url = address(base, verifier, server.server_address[1])
        call.out.remark(f"Open {url}")
        if not only_print and sys.stderr.isatty() and has_display():
            click.launch(url)
        deadline = time.monotonic() + WAIT_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            server.timeout = left
            server.handle_request()
            if codes:
                return codes[0]
    raise TIMED_OUT("Nobody logged in.", hint=f"skerry login --node {base} --paste")


def post(base: str, path: str, body: str, headers: dict[str, str]) -> dict[str, object]:
    """Post a form to the node; return the object that it answers, or raise its error."""
    parts = urlsplit(base)
    made = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    said = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    connection = made(parts.hostname or "", parts.port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("POST", path, body.encode(), said)
        with connection.getresponse() as answer:
            status, found = answer.status, msgspec.json.decode(answer.read(_ANSWER_BYTES_MAX))
    except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
        raise NODE_UNREACHABLE(f"{base} does not answer.", why=str(error)) from error
    finally:
        connection.close()
    if status >= 400:
        raise from_dict(found)
    return dict(found)
