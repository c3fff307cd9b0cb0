"""The gate answers nothing that the engine would not answer by the same bytes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.kernel.kind import ASGIApplication, Context, Head, Resource, Response
from skerry.kinds._shared.s3 import chunks, sigv2, sigv4, times
from skerry.kinds.bucket.account import owner_credential
from skerry.kinds.bucket.config import BucketConfig
from skerry.kinds.bucket.engine import BucketEngine
from skerry.kinds.bucket.gate import gate
from skerry.kinds.bucket.messages import UserParams
from skerry.kinds.bucket.wire.application import make
from skerry.testing.hosts import ManualClock, answered, resource_of

HOST = "127.0.0.1"
CLOCK = ManualClock()
NOW = CLOCK.now()
_ID = re.compile(rb"<RequestId>\w+<")


@dataclass(frozen=True)
class Door:
    """A resource as its engine serves it and as its gate sees it; users by their names."""

    resource: Resource
    application: ASGIApplication
    users: dict[str, tuple[str, str]]

    def gate(self, head: Head) -> Response | None:
        answer = gate(head, self.resource, NOW)
        bodiless = answer is not None and head.method == b"HEAD"
        return replace(answer, body=b"") if answer is not None and bodiless else answer

    async def engine(self, head: Head) -> Response:
        return await answered(self.application, head)


@pytest.fixture
async def door(context: Context) -> AsyncIterator[Door]:
    context = replace(context, clock=CLOCK)
    engine = BucketEngine(context)
    await engine.start()
    granted = await engine.word_grant(UserParams("ada"))
    revoked = await engine.word_grant(UserParams("bob"))
    await engine.word_revoke(UserParams("bob"))
    owner = owner_credential(context.id, context.keys)
    users = {
        "owner": owner,
        "user": (granted.access_key, granted.secret_key),
        "revoked": (revoked.access_key, revoked.secret_key),
        "wrong": (owner[0], "s" * 40),
        "stranger": ("SKRY0000000000000000", owner[1]),
        "shapeless": (f"{owner[0]}a/b", owner[1]),
        "foreign": ("AKIAIOSFODNN7EXAMPLE", "s" * 40),
    }
    yield Door(resource_of(context), make(engine), users)
    await engine.stop()


def same(one: Response, other: Response) -> bool:
    """Tell whether two answers differ in nothing but the request's id."""

    def plain(answer: Response) -> tuple[Any, ...]:
        headers = [each for each in answer.headers if each[0] != b"x-amz-request-id"]
        return answer.status, headers, _ID.sub(b"", answer.body)

    return plain(one) == plain(other)


def head_of(method: str, target: str, headers: dict[str, str]) -> Head:
    path, _, query = target.partition("?")
    raw = tuple((key.encode(), value.encode("latin-1")) for key, value in headers.items())
    return Head(method.encode(), path.encode(), query.encode(), raw)


def signed(method: str, path: str, who: tuple[str, str], when: int, payload: str) -> Head:
    headers = sigv4.sign(method, path, "", {"host": HOST}, who, payload, when)
    return head_of(method, path, headers)


def version_2(method: str, path: str, who: tuple[str, str], expires: str) -> Head:
    signature = sigv2.sign(who[1], f"{method}\n\n\n{expires}\n{path}")
    pairs = {"AWSAccessKeyId": who[0], "Expires": expires, "Signature": signature}
    query = "&".join(f"{key}={sigv4._encode(value)}" for key, value in pairs.items())
    return head_of(method, f"{path}?{query}", {"host": HOST})


def spoilt(data: st.DataObject, head: Head) -> Head:
    """Return a head of which, perhaps, one byte or header is another."""
    part = data.draw(st.sampled_from(["nothing", "path", "query", "header", "twice", "more"]))
    if part == "path":
        return replace(head, path=head.path + b"x")
    if part == "query":
        return replace(head, query=head.query[: data.draw(st.integers(0, 300))])
    if part == "twice":
        return replace(head, headers=(*head.headers, head.headers[-1]))
    if part == "more":
        return replace(head, headers=(*head.headers, (b"x-amz-meta-a", b"1")))
    if part == "header":
        index = data.draw(st.integers(0, len(head.headers) - 1))
        name, value = head.headers[index]
        cut = data.draw(st.integers(0, len(value)))
        text = data.draw(st.text(st.characters(codec="latin-1"), max_size=3)).encode("latin-1")
        changed = value[:cut] + text + value[cut + 1 :]
        return replace(
            head, headers=(*head.headers[:index], (name, changed), *head.headers[index + 1 :])
        )
    return head


METHODS = st.sampled_from(["GET", "HEAD", "DELETE", "PUT", "POST", "PATCH"])
PATHS = st.sampled_from(["/", "/media", "/media/k", "/media/%C3%BC%20a", "/none/k", "/%FF"])
PAYLOADS = st.sampled_from([sigv4.UNSIGNED, sigv4.EMPTY_SHA256, chunks.SIGNED, "other"])
SECONDS = st.sampled_from([0, -10, -800, -1000, 1000, -90_000])
USERS = st.sampled_from(["owner", "user", "revoked", "wrong", "stranger", "shapeless", "foreign"])


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), name=USERS, method=METHODS, path=PATHS, seconds=SECONDS)
async def test_it_refuses_what_the_engine_refuses_by_the_same_bytes(
    door: Door, data: st.DataObject, name: str, method: str, path: str, seconds: int
) -> None:
    who, when = door.users[name], NOW + seconds * times.NANOSECONDS
    form = data.draw(st.sampled_from(["header", "presigned", "version 2", "none"]))
    if form == "header":
        head = signed(method, path, who, when, data.draw(PAYLOADS))
    elif form == "presigned":
        target = sigv4.presign(method, HOST, path, who, when, 900)
        head = head_of(method, target, {"host": HOST})
    elif form == "version 2":
        expires = st.sampled_from([str(when // times.NANOSECONDS), "²", "9" * 5000, "", "-1"])
        head = version_2(method, path, who, data.draw(expires))
    else:
        head = head_of(method, path, {"host": HOST})
    head = spoilt(data, head)
    answer, truth = door.gate(head), await door.engine(head)
    if answer is None:
        # What comes in may still be refused, but not for a signature that is wrong.
        assert b"SignatureDoesNotMatch" not in truth.body
        assert b"InvalidAccessKeyId" not in truth.body or name == "revoked"
    elif name in ("user", "revoked"):
        # Which users there are is in the state: the gate may call a wrong key a wrong signature.
        assert 400 <= min(answer.status, truth.status) <= max(answer.status, truth.status) < 500
    else:
        assert 400 <= answer.status < 500
        assert same(answer, truth), (answer, truth)


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", {"origin": "https://a.example", "access-control-request-method": "GET"}),
        ("OPTIONS", {}),
        ("GET", {"origin": "https://a.example", "authorization": "AWS4-HMAC-SHA256 x"}),
        ("POST", {"content-type": "multipart/form-data; boundary=x", "authorization": "AWS x:y"}),
        ("GET", {}),
    ],
)
async def test_what_the_state_has_a_say_in_comes_in(
    door: Door, method: str, headers: dict[str, str]
) -> None:
    assert door.gate(head_of(method, "/media", {"host": HOST, **headers})) is None


@pytest.mark.parametrize("prefix", ["", "/@news/main/@media"])
async def test_version_2_can_be_switched_off(door: Door, prefix: str) -> None:
    head = version_2("GET", "/media/k", door.users["owner"], "9999999999")
    head = replace(head, headers=(*head.headers, (b"x-forwarded-prefix", prefix.encode())))
    assert door.gate(head) is None
    resource = replace(door.resource, config=BucketConfig(signature_v2=False))
    answer = gate(head, resource, NOW)
    assert answer is not None
    assert answer.status == 400
    assert b"<Code>InvalidRequest<" in answer.body


async def test_a_virtual_host_is_read_as_the_engine_reads_it(door: Door) -> None:
    who = door.users["owner"]
    headers = sigv4.sign("GET", "/k", "", {"host": "media.localhost"}, who, sigv4.EMPTY_SHA256, NOW)
    assert door.gate(head_of("GET", "/k", headers)) is None
    wrong = head_of("GET", "/k", {**headers, "host": "other.localhost"})
    answer = door.gate(wrong)
    assert answer is not None
    assert same(answer, await door.engine(wrong))
