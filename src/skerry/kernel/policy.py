"""The one decision point: who may do what to which resource, and where.

Every verb of every kind asks `Policy.decide` before the first byte moves, and acts only on an
allowed decision. The policy in force fills this in; nothing else changes with it.

**To ask whether something may leave this node** (a backup to a bucket, a prompt to a model, a job
to a device, a bid of another owner), say where it would go and enforce the answer before the first
byte is sent:

    place = Place("hetzner", country="DE", host="fsn1.your-objectstorage.com")
    request = Request(principal, "backup:send", str(place), app, branch, kind, name,
                      place=place, encrypted=True)
    decision = enforce(node.policy, request)      # raises DENIED with rule, facts and evidence

- In the node (services, handlers) that is `node.policy`. In a cell, an engine or binding asks
  `await context.host.permit("models:route", place)`: the node fills in app, branch and resource.
- `Place.provider` is a name of the catalogue (`skerry policy places`). What is not in it has no
  facts, so that a policy which asks for any refuses it. `country` is where the bytes would come to
  lie, as far as the caller knows; `host` is the endpoint: a host that the catalogue knows under
  another provider or country is a conflict, and refused. `facts` are what the caller was told (the
  attributes of a bid), with the evidence that there is for it.
- `encrypted` may be true only for bytes that were encrypted on this side, with a key that does not
  go along. It is what `outside = "encrypted-only"` asks for.
- A decision is cheap (below 0.1 ms) and has no side effect: asking for many places, to choose among
  them, is fine. `enforce` hands the decision that is acted on to the audit log.
"""

from __future__ import annotations

import enum
from typing import Protocol

import msgspec

from skerry.kernel.errors import DENIED, SkerryError


class Evidence(enum.StrEnum):
    """How well a fact is supported; each grade is stronger than the one before.

    Declared: somebody says so. Documented: in a document with an address, a digest and an expiry.
    Attested: signed by a third party. Measured: by a probe of ours, with its entry in the log.
    """

    DECLARED = "declared"
    DOCUMENTED = "documented"
    ATTESTED = "attested"
    MEASURED = "measured"

    @property
    def rank(self) -> int:
        """Return 1 for the weakest to 4; 0 is left for what is not known at all."""
        return list(Evidence).index(self) + 1


class Fact(msgspec.Struct, frozen=True):
    """Something that is said about a place: by whom, since when, until when, and how supported.

    `subject` is `node/<name>`, `provider/<name>` or `country/<code>`. Dates are ISO 8601; `expires`
    is the last day on which the evidence counts. `sha256` is the document's digest, `by` and
    `signature` are the attester's verifier key and signature, `index` is the entry of the audit log
    that holds a measurement.
    """

    subject: str
    name: str
    value: str | tuple[str, ...]
    evidence: Evidence = Evidence.DECLARED
    source: str = ""
    date: str = ""
    expires: str = ""
    sha256: str = ""
    by: str = ""
    signature: str = ""
    index: int | None = None
    note: str = ""


class Place(msgspec.Struct, frozen=True):
    """Somewhere that is not a node: a provider's endpoint, bucket, device or account."""

    provider: str
    country: str = ""
    host: str = ""
    facts: tuple[Fact, ...] = ()

    def __str__(self) -> str:
        return f"{self.provider} ({self.country})" if self.country else self.provider


class Request(msgspec.Struct, frozen=True):
    """What is about to happen.

    `action` is `<noun>:<verb>` (`branch:create`, `kv:read`); `app`, `branch`, `kind` and `resource`
    say to what, as far as it is known; `where` is the node that data, a process or a job would go
    to, or the name of `place` for people. `encrypted`: only bytes that are encrypted on this side
    would go, and no key with them.
    """

    principal: str
    action: str
    where: str
    app: str | None = None
    branch: str | None = None
    kind: str | None = None
    resource: str | None = None
    place: Place | None = None
    encrypted: bool = False


class Decision(msgspec.Struct, frozen=True):
    """The answer, with the rule that gave it and the reason for people.

    `rules` are all rules that agree on the answer, `facts` what they looked at with its evidence as
    it counts today, `policy` the digest of the policy that was asked, and `residency` how well it
    is shown that the place is where it says (R0 to R4).
    """

    allowed: bool
    rule: str
    reason: str
    rules: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    policy: str = ""
    residency: str = ""


class Policy(Protocol):
    """Decides."""

    def decide(self, request: Request) -> Decision:
        """Decide without blocking, and without side effects."""
        ...

    def record(self, request: Request, decision: Decision) -> None:
        """Remember a decision that is acted on, without blocking."""
        ...


class HereOnly:
    """Everything may be on this node, and nowhere else."""

    def __init__(self, node: str) -> None:
        self._node = node

    def decide(self, request: Request) -> Decision:
        """See `Policy.decide`."""
        if request.place is None and request.where == self._node:
            return Decision(True, "here-only", f"{request.where} is this node.")
        return Decision(
            False,
            "here-only",
            f"{request.where} is not this node ({self._node}), and no policy allows other places.",
        )

    def record(self, request: Request, decision: Decision) -> None:
        """See `Policy.record`; nothing is kept."""


def enforce(policy: Policy, request: Request) -> Decision:
    """Return the decision if it allows; raise DENIED with its rule and reason if not."""
    decision = policy.decide(request)
    policy.record(request, decision)
    if not decision.allowed:
        raise refusal(request, decision)
    return decision


def refusal(request: Request, decision: Decision, hint: str = "") -> SkerryError:
    """Return the error that tells a refusal; the hint is the command that explains it."""
    return DENIED(
        f"Policy does not allow {request.action} at {request.where}.",
        why=f"Rule {decision.rule}: {decision.reason}",
        hint=hint or _explanation(request),
    )


def _explanation(request: Request) -> str:
    if request.app is None:
        return ""
    words = ["skerry policy explain", request.action, f"--app {request.app}"]
    if request.branch and request.branch != "main":
        words.append(f"--branch {request.branch}")
    if request.place is None:
        words.append(f"--at {request.where}")
    else:
        words.append(f"--provider {request.place.provider}")
        words += [f"--country {request.place.country}"] if request.place.country else []
        words += [f"--host {request.place.host}"] if request.place.host else []
    words += ["--encrypted"] if request.encrypted else []
    return " ".join(words)
