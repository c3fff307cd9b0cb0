"""What the node's policy says of a provider, asked before a prompt goes there."""

from __future__ import annotations

from dataclasses import dataclass

from skerry.kernel.clock import Clock
from skerry.kernel.errors import DENIED, SkerryError
from skerry.kernel.kind import Context
from skerry.kernel.policy import Evidence
from skerry.kinds.models.gateway.routes import LOCAL, Provider

ACTION = "models:route"
KNOWN_SECONDS = 5.0
KNOWN_MAX = 1000


@dataclass(frozen=True, slots=True)
class Permitted:
    """Where a prompt may go, for the headers of its answer."""

    provider: str
    country: str
    evidence: str
    rule: str
    policy: str = ""

    def headers(self) -> dict[str, str]:
        """Return the headers that name it."""
        return {
            "x-skerry-provider": self.provider,
            "x-skerry-country": self.country or "unknown",
            "x-skerry-evidence": self.evidence or "none",
            "x-skerry-policy": self.rule,
            **({"x-skerry-policy-digest": self.policy} if self.policy else {}),
        }


HERE = Permitted(LOCAL, "this-node", Evidence.MEASURED.value, "here")
"""A model of this node: nothing leaves it, and the node was decided on when the cell woke."""


class Permits:
    """Asks the decision point, and remembers its answers for a few seconds."""

    def __init__(self, context: Context) -> None:
        self._permit = context.permit
        self._clock: Clock = context.clock
        self._known: dict[str, tuple[float, Permitted | SkerryError]] = {}

    async def ask(self, provider: Provider) -> Permitted:
        """Return where a prompt would go; raise DENIED if policy does not let it."""
        if provider.place is None:
            return HERE
        now = self._clock.monotonic()
        known = self._known.get(provider.name)
        if known is None or known[0] <= now:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            known = (now + KNOWN_SECONDS, await self._decide(provider))
            self._known[provider.name] = known
        if isinstance(known[1], SkerryError):
            raise known[1]
        return known[1]

    async def _decide(self, provider: Provider) -> Permitted | SkerryError:
        assert provider.place is not None
        try:
            decision = await self._permit(ACTION, provider.place)
        except SkerryError as error:
            if error.problem is not DENIED:
                raise
            return error
        grades = [fact.evidence for fact in decision.facts]
        weakest = min(grades, key=lambda grade: grade.rank, default=Evidence.DECLARED)
        country = provider.place.country
        return Permitted(provider.name, country, weakest.value, decision.rule, decision.policy)
