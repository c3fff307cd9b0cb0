"""The atlas: which countries are in which group, and what is known of providers, each row dated.

It is data that is shipped (`data/*.toml`), read once. Whatever follows from it is shown with the
row's source, date and evidence.
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

import msgspec

from skerry.kernel.policy import Evidence, Fact


class Group(msgspec.Struct, frozen=True):
    """Countries that a policy may name together."""

    name: str
    members: tuple[str, ...]
    source: str
    date: str
    evidence: Evidence = Evidence.DECLARED


class Adequacy(msgspec.Struct, frozen=True):
    """A decision under Article 45 of the GDPR; `partial` says for whom only, if not for all.

    `source` is a list that names the country, which was read on `date`.
    """

    country: str
    decision: str
    expires: str = ""
    partial: str = ""
    note: str = ""
    source: str = ""
    date: str = ""


class _Territories(msgspec.Struct, frozen=True):
    version: str
    group: tuple[Group, ...]
    adequacy: tuple[Adequacy, ...]


class Document(msgspec.Struct, frozen=True):
    """What a document says of a provider: values by the names of facts, and which document it is.

    `about` says in our words what stands there; `sha256` is that of the file at `source`, which was
    read on `date`.
    """

    says: dict[str, str | tuple[str, ...]]
    about: str
    source: str
    sha256: str
    date: str
    expires: str


class Provider(msgspec.Struct, frozen=True):
    """What is known of a provider. `hosts` maps endings of host names to the country there.

    `read` has the addresses of pages that were read, by the facts that they bear out. A row without
    a document says in `lacking` why it has none.
    """

    name: str
    title: str
    entity: str
    seat: str
    controllers: dict[str, str]
    affiliates: tuple[str, ...]
    sites: tuple[str, ...]
    hosts: dict[str, str] = {}
    note: str = ""
    evidence: Evidence = Evidence.DECLARED
    read: dict[str, str] = {}
    lacking: str = ""
    document: tuple[Document, ...] = ()

    def facts(self, source: str, date: str) -> list[Fact]:
        """Return the row as facts, what documents say first: they contradict it or bear it out."""
        controllers = tuple(f"{who} ({where})" for who, where in self.controllers.items())
        values: dict[str, str | tuple[str, ...]] = {
            "owner": self.entity,
            "seat": self.seat,
            "controllers": controllers,
            "affiliates": self.affiliates,
            "sites": self.sites,
        }
        subject = f"provider/{self.name}"
        return [
            *(fact for each in self.document for fact in _documented(subject, each)),
            *(
                Fact(
                    subject=subject,
                    name=name,
                    value=value,
                    evidence=self.evidence,
                    source=self.read.get(name, source),
                    date=date,
                    note=f"no document: {self.lacking}" if self.lacking else "",
                )
                for name, value in values.items()
            ),
        ]


def _documented(subject: str, document: Document) -> list[Fact]:
    return [
        Fact(
            subject=subject,
            name=name,
            value=value if isinstance(value, str) else tuple(sorted(value)),
            evidence=Evidence.DOCUMENTED,
            source=document.source,
            date=document.date,
            expires=document.expires,
            sha256=document.sha256,
            note=document.about,
        )
        for name, value in document.says.items()
    ]


class _Providers(msgspec.Struct, frozen=True):
    version: str
    date: str
    source: str
    provider: tuple[Provider, ...]


class Endpoint(NamedTuple):
    """What a host name tells: the provider, and the country or '' if the name does not say."""

    provider: str
    country: str


class Atlas:
    """The shipped data, as it is asked for."""

    def __init__(self) -> None:
        folder = resources.files(__package__) / "data"
        territories = msgspec.convert(
            tomllib.loads((folder / "territories.toml").read_text()), _Territories
        )
        providers = msgspec.convert(
            tomllib.loads((folder / "providers.toml").read_text()), _Providers
        )
        self.version = max(territories.version, providers.version)
        self.groups = territories.group
        self.adequacy = {each.country: each for each in territories.adequacy}
        self.providers = {each.name: each for each in providers.provider}
        self._source, self._date = providers.source, providers.date
        self._hosts = {
            host: Endpoint(each.name, country)
            for each in providers.provider
            for host, country in each.hosts.items()
        }

    def groups_of(self, country: str, today: str) -> list[str]:
        """Return the groups that a country is in today."""
        found = [group.name for group in self.groups if country in group.members]
        if self.adequate(country, today):
            found.append("ADEQUATE")
        return found

    def adequate(self, country: str, today: str) -> bool:
        """Tell whether a full adequacy decision for a country holds today."""
        decision = self.adequacy.get(country)
        if decision is None or decision.partial:
            return False
        return not decision.expires or today <= decision.expires

    def transfer_basis(self, country: str, today: str) -> str:
        """Return in words on what a transfer of personal data to a country could rest.

        It names the decision, not a legal conclusion.
        """
        eea = next(group for group in self.groups if group.name == "EEA")
        if country in eea.members:
            return "none needed: within the EEA"
        decision = self.adequacy.get(country)
        if decision is None:
            return "no adequacy decision: safeguards under Article 46 would be needed"
        if decision.expires and decision.expires < today:
            return f"adequacy decision {decision.decision} ended on {decision.expires}"
        limits = f", only for {decision.partial}" if decision.partial else ""
        told = f" (declared {decision.date}, {decision.source})" if decision.source else ""
        return f"adequacy decision {decision.decision}{limits}{told}"

    def facts(self, provider: str) -> list[Fact]:
        """Return what is known of a provider; nothing if it is not in the atlas."""
        found = self.providers.get(provider)
        return found.facts(self._source, self._date) if found else []

    def endpoint(self, host: str) -> Endpoint | None:
        """Return what a host name tells, by its longest known ending."""
        labels = host.lower().rstrip(".").split(".")
        for start in range(len(labels)):
            found = self._hosts.get(".".join(labels[start:]))
            if found is not None:
                return found
        return None


@lru_cache(maxsize=1)
def atlas() -> Atlas:
    """Return the shipped atlas."""
    return Atlas()
