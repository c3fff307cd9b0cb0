"""What the console makes of an identity provider: addresses, cookies, and codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from tests.surfaces.conftest import Served

from skerry.kernel.errors import UNAUTHENTICATED
from skerry.node.identity.provider import challenge_of
from skerry.surfaces.port import Arrival

VERIFIER = "a verifier of a command line"


@dataclass
class Came:
    """Somebody who logged in."""

    token: str
    memo: Mapping[str, str]
    name: str = "ada-0123"
    seconds: int = 3600


@dataclass
class FakeIdentity:
    """Lets in whoever comes back with the secret."""

    token: str
    issuer: str = "https://id.example.org"
    begun: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    async def begin(self, redirect: str, memo: Mapping[str, str]) -> tuple[str, str]:
        self.begun.append((redirect, memo))
        return f"{self.issuer}/authorize?state=s", "a-secret"

    async def finish(self, secret: str, said: Mapping[str, str]) -> Arrival:
        if secret != "a-secret" or said.get("state") != "s":
            raise UNAUTHENTICATED("That log-in is over.")
        return Came(self.token, self.begun[-1][1])

    async def leave(self, token: str) -> None:
        self.left.append(token)


@pytest.fixture
def identity(served: Served) -> FakeIdentity:
    made = FakeIdentity(served.node.home.token())
    served.node.identity = made
    return made


def test_a_browser_goes_there_and_back(served: Served, identity: FakeIdentity) -> None:
    assert "Log in at https://id.example.org" in served.ask("GET", "/login").text
    answer = served.ask("GET", "/login/provider?next=/node", host="node.example.org:8443")
    assert answer.headers["location"] == "https://id.example.org/authorize?state=s"
    ((redirect, memo),) = identity.begun
    assert redirect == "http://node.example.org:8443/login/callback"
    assert memo == {"next": "/node"}
    cookie = answer.headers["set-cookie"].lower()
    assert "samesite=lax" in cookie and "httponly" in cookie and "path=/login/callback" in cookie
    served.cookie = answer.headers["set-cookie"].partition(";")[0]
    answer = served.ask("GET", "/login/callback?state=s&code=c", host="node.example.org:8443")
    assert answer.status == 200 and 'content="0; url=/node"' in answer.text
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    assert served.ask("GET", "/login/callback?state=x").status == 401


@pytest.mark.parametrize("next_path", ["//evil.example", "https://evil.example", '/"><script>'])
def test_nobody_is_sent_elsewhere(served: Served, identity: FakeIdentity, next_path: str) -> None:
    served.ask("GET", f"/login/provider?{urlencode({'next': next_path})}", host="n:1")
    served.cookie = "skerry-session-1-login=a-secret"
    page = served.ask("GET", "/login/callback?state=s", host="n:1").text
    assert "evil.example" not in page and "<script>" not in page.partition("<body>")[2]


def test_a_command_line_gets_its_token_once(served: Served, identity: FakeIdentity) -> None:
    said = urlencode({"challenge": challenge_of(VERIFIER), "port": "4711"})
    served.ask("GET", f"/login/provider?{said}", host="n:1")
    served.cookie = "skerry-session-1-login=a-secret"
    answer = served.ask("GET", "/login/callback?state=s", host="n:1")
    there = urlsplit(answer.headers["location"])
    assert (there.scheme, there.netloc) == ("http", "127.0.0.1:4711")
    form = urlencode({"code": parse_qs(there.query)["code"][0], "verifier": VERIFIER})
    answer = served.ask("POST", "/login/token", form)
    assert identity.token in answer.text
    assert served.ask("POST", "/login/token", form).status == 401, "it is spent"
    bearer = {"authorization": f"Bearer {identity.token}"}
    assert served.ask("POST", "/login/end", "", **bearer).status == 200
    assert identity.left == [identity.token]
    assert served.ask("POST", "/login/end", "").status == 401


def test_without_a_provider_there_is_no_way(served: Served) -> None:
    assert "identity" not in served.ask("GET", "/login").text
    assert served.ask("GET", "/login/provider").status == 404
    assert served.ask("GET", "/login/callback?state=s").status == 404
    assert served.ask("POST", "/login/end", "", authorization="Bearer x").status == 404
