"""Routes: which model at which provider answers to a name, and which rest for a while."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from skerry.kernel.errors import CONFIG_INVALID
from skerry.kernel.names import did_you_mean
from skerry.kernel.policy import Place
from skerry.kinds.models.config import LocalConfig, ModelsConfig, Price, ProviderConfig
from skerry.kinds.models.gateway.failure import FailureError
from skerry.kinds.models.gateway.money import FREE, Rates, rates
from skerry.kinds.models.gateway.profiles import Profile, Quirks, profiles

REST_SECONDS_MAX = 60.0
RESTING_MAX = 10_000
DEPTH_MAX = 5
ROUTES_MAX = 20
LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Provider:
    """Who answers: an endpoint and how to speak to it; `place` is None for this machine."""

    name: str
    base_url: str
    quirks: Quirks
    secret: str = ""
    place: Place | None = None
    prices: Mapping[str, Rates] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    concurrency: int = 2000


@dataclass(frozen=True, slots=True)
class Route:
    """A model at a provider; `local` are the settings of a model of this machine."""

    provider: Provider
    model: str
    local: LocalConfig | None = None

    @property
    def name(self) -> str:
        """How clients may ask for it."""
        return self.model if self.local else f"{self.provider.name}/{self.model}"

    @property
    def rates(self) -> Rates | None:
        """What it costs; None if nobody said."""
        return FREE if self.local else self.provider.prices.get(self.model)


class Routes:
    """Every name that this resource answers to."""

    def __init__(self, config: ModelsConfig) -> None:
        self._local = config.local
        self._declared = {name: list(targets) for name, targets in config.aliases.items()}
        self.aliases = dict(self._declared)
        self.providers: dict[str, Provider] = {}
        names = {*profiles(), *config.providers}
        for name in sorted(names):
            settings = config.providers.get(name, ProviderConfig())
            self.providers[name] = _provider(name, settings, profiles().get(name), config.usd)
        self._machine = Provider(LOCAL, "", Quirks(developer=False, base64=False))
        self._configured = set(config.providers)

    def set_aliases(self, made: Mapping[str, list[str]]) -> None:
        """Take the aliases that were made by a word; those of skerry.toml win."""
        self.aliases = {**made, **self._declared}

    def is_declared(self, alias: str) -> bool:
        """Whether an alias stands in skerry.toml."""
        return alias in self._declared

    def find(self, name: str) -> list[Route]:
        """Return the routes that a name means, in their order; raise FailureError for none."""
        found: list[Route] = []
        self._collect(name, found, 0)
        return list({route.name: route for route in reversed(found)}.values())[::-1][:ROUTES_MAX]

    def _collect(self, name: str, found: list[Route], depth: int) -> None:
        if name in self.aliases and depth < DEPTH_MAX:
            for target in self.aliases[name]:
                if target == name:
                    found.append(self._route(target))
                else:
                    self._collect(target, found, depth + 1)
            return
        found.append(self._route(name))

    def _route(self, name: str) -> Route:
        local = self._local.get(name)
        if local is not None:
            return Route(self._machine, name, local)
        provider, slash, model = name.partition("/")
        if slash and model and provider in self.providers:
            return Route(self.providers[provider], model)
        known = [*self.aliases, *self._local, *(f"{each}/…" for each in self._configured)]
        raise FailureError(
            404,
            f"The model {name[:200]!r} does not exist. {did_you_mean(name[:200], known)}",
            code="model_not_found",
            param="model",
        )

    def names(self, has_secret: Mapping[str, str]) -> list[tuple[str, str]]:
        """Return (name, owner) of what can be asked for: aliases, local models, priced models."""
        found = [(name, "alias") for name in sorted(self.aliases)]
        found += [(name, LOCAL) for name in sorted(self._local)]
        for provider in self.providers.values():
            usable = provider.secret in has_secret or provider.name in self._configured
            if usable:
                found += [(f"{provider.name}/{model}", provider.name) for model in provider.prices]
        return found


def _provider(name: str, settings: ProviderConfig, profile: Profile | None, usd: float) -> Provider:
    if profile is None and not settings.base_url:
        raise CONFIG_INVALID(
            f"There is no profile of a provider {name!r}.",
            why=did_you_mean(name, profiles()),
            hint=f"Set base_url under [models.<name>.providers.{name}] in skerry.toml.",
        )
    base = settings.base_url or (profile.base_url if profile else "")
    base = base.replace("{account}", settings.account or "{account}").rstrip("/")
    own = bool(settings.base_url)
    country = settings.country or ("" if own or profile is None else profile.country)
    currency = settings.currency or (profile.currency if profile else "EUR")
    if currency not in ("EUR", "USD"):
        raise CONFIG_INVALID(f"Provider {name}: prices are in EUR or USD, not {currency!r}.")
    euro = usd if currency == "USD" else 1.0
    prices: dict[str, Price] = {**(profile.prices if profile else {}), **settings.prices}
    operator = settings.operator or (profile.operator if profile and not own else "") or name
    return Provider(
        name=name,
        base_url=base,
        quirks=profile.quirks if profile else Quirks(dimensions=True, base64=True),
        secret=settings.secret or (profile.secret if profile else ""),
        place=Place(operator, country=country, host=urlsplit(base).hostname or ""),
        prices={model: rates(price, euro) for model, price in prices.items()},
        headers=settings.headers,
        concurrency=settings.concurrency,
    )


class Resting:
    """Routes that failed and are left alone for a while: longer with each failure in a row."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    def left(self, route: Route, now: float) -> float:
        """Return how many seconds a route still rests."""
        return max(self._until.get(route.name, 0.0) - now, 0.0)

    def failed(self, route: Route, now: float, wait: float | None = None) -> None:
        """Note a failure; `wait` is what the provider asked for."""
        if len(self._until) >= RESTING_MAX:
            self._until = {name: until for name, until in self._until.items() if until > now}
            self._failures = {name: self._failures[name] for name in self._until}
            if len(self._until) >= RESTING_MAX:
                return
        count = self._failures[route.name] = self._failures.get(route.name, 0) + 1
        seconds = wait if wait is not None else min(2.0 ** (count - 1), REST_SECONDS_MAX)
        self._until[route.name] = now + seconds

    def answered(self, route: Route) -> None:
        """Note that a route works."""
        self._failures.pop(route.name, None)
        self._until.pop(route.name, None)
