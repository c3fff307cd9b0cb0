"""What the market's commands answer, for people and for programs."""

from __future__ import annotations

import html

import msgspec

from skerry.kernel.money import show


class Overview(msgspec.Struct, frozen=True):
    """A market at a glance; amounts are text with their currency."""

    address: str
    currency: str
    wallet: str
    in_escrow: str
    providers: int
    open_orders: int
    leases: int
    entries: int
    balanced: bool
    provider: str = ""


class ProviderInfo(msgspec.Struct, frozen=True):
    """A provider in a list. `completed` is known from ten leases on; none of it is proved.

    `way` is how this node speaks to it: over mutual TLS, http, https, or not at all.
    """

    name: str
    address: str
    country: str
    isolation: tuple[str, ...]
    cpu_milli: int
    memory_bytes: int
    gpu: str
    leases: int
    completed: str
    reputation: int
    results_in_row: int
    bond: str
    remembered: str = ""
    way: str = ""


class ProviderStarted(msgspec.Struct, frozen=True):
    """A provider that offers."""

    message: str
    address: str
    url: str
    cpu_milli: int
    cpu_score: int
    memory_bytes: int
    storage_bytes: int
    gpu: str
    isolation: tuple[str, ...]
    images: tuple[str, ...]
    markets: tuple[str, ...]


class Contact(msgspec.Struct, frozen=True):
    """A market that a provider offers in, what its wallet there held when it was last told of, and
    why the market cannot be reached, if so.
    """

    market: str
    wallet: str
    trouble: str


class Served(msgspec.Struct, frozen=True):
    """A lease that this machine serves; `earned` is since it was made, withdrawn or not."""

    lease: str
    state: str
    per_hour: str
    earned: str
    manifest: bool
    paid_for: str


class ProviderShown(msgspec.Struct, frozen=True):
    """What this machine offers, what of it is free, and whom it serves."""

    address: str
    cpu_milli: int
    free_cpu_milli: int
    memory_bytes: int
    free_memory_bytes: int
    storage_bytes: int
    free_storage_bytes: int
    contacts: tuple[Contact, ...]
    leases: tuple[Served, ...]


class Obstacle(msgspec.Struct, frozen=True):
    """A provider, and what stands between it and a group: nothing, if there are no reasons."""

    group: str
    provider: str
    reasons: tuple[str, ...]


class LeaseInfo(msgspec.Struct, frozen=True):
    """A lease; `since` is nanoseconds since 1970."""

    dseq: int
    group: str
    provider: str
    state: str
    per_hour: str
    since: int
    cost: str
    left: str
    lasts: str
    reason: str = ""
    warning: str = ""
    lease: str = ""


class Deployed(msgspec.Struct, frozen=True):
    """What became of an order, or in a dry run what would."""

    message: str
    dseq: int = 0
    leases: tuple[LeaseInfo, ...] = ()
    urls: tuple[str, ...] = ()
    seconds: float = 0.0
    feasible: bool = True
    obstacles: tuple[Obstacle, ...] = ()
    nearest: str = ""
    notes: tuple[str, ...] = ()
    next: str = ""

    @property
    def exit_code(self) -> int:
        """1 if nobody serves it, or would."""
        return 0 if self.feasible else 1

    def draw(self, _columns: int) -> str:
        """Return what happened, in sentences."""
        lines = [self.message + (f" It took {self.seconds:.2f} s." if self.seconds else "")]
        lines += [f"  {each.group} at {each.provider}, {each.per_hour}" for each in self.leases]
        lines += [f"  {url}" for url in self.urls]
        for obstacle in self.obstacles:
            why = "; ".join(obstacle.reasons) or "nothing stands in its way"
            lines.append(f"  {obstacle.group} at {obstacle.provider}: {why}")
        lines += [self.nearest] if self.nearest else []
        lines += self.notes
        lines += [f"next: {self.next}"] if self.next else []
        return "\n".join(lines)


class BidInfo(msgspec.Struct, frozen=True):
    """How a provider answered an order.

    `counts_as` is its score: the price by which it is compared, which is the one that it asked, the
    higher the worse its reputation is. The lowest wins.
    """

    order: str
    provider: str
    state: str
    asked: str
    counts_as: str
    why: str
    bid: str = ""


class ServiceInfo(msgspec.Struct, frozen=True):
    """A service of a deployment."""

    group: str
    service: str
    provider: str
    state: str
    ready: str
    urls: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    detail: str = ""


class LineInfo(msgspec.Struct, frozen=True):
    """A line of a service; `time` is nanoseconds since 1970, 0 if its provider does not say."""

    service: str
    stream: str
    text: str
    time: int = 0

    def draw(self, _columns: int) -> str:
        """Return the line as it was said."""
        clean = "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in self.text)
        return f"{self.service}  {clean}"


class Ran(msgspec.Struct, frozen=True):
    """What a command came to."""

    exit_code: int
    output: str
    errors: str

    def draw(self, _columns: int) -> str:
        """Return what the command wrote."""
        text = f"{self.output}{self.errors}".rstrip("\n")
        return "".join(c if c.isprintable() or c in "\t\n" else "\ufffd" for c in text)


class InvoiceLine(msgspec.Struct, frozen=True):
    """A lease on an invoice; amounts are micro-units, times ms since 1970."""

    dseq: int
    group: str
    provider: str
    started: int
    ended: int
    per_hour: str
    amount: int


class Invoice(msgspec.Struct, frozen=True):
    """What was used and what it cost. The lines add up to the ledger's own postings."""

    number: str
    issued: int
    customer: str
    issuer: str
    currency: str
    lines: tuple[InvoiceLine, ...]
    rounding: int
    total: int
    paid_in: int
    refunded: int
    in_escrow: int
    owed: int
    postings: int
    format: str = "text"

    @property
    def adds_up(self) -> bool:
        """Whether what came in is what was used, given back, or is still there."""
        used = sum(line.amount for line in self.lines) + self.rounding
        return used == self.total and self.paid_in == used + self.refunded + self.in_escrow

    def draw(self, _columns: int) -> str:
        """Return the invoice as text or as a page."""
        return self.as_html() if self.format == "html" else self.as_text()

    def rows(self) -> list[tuple[str, str]]:
        """Return what stands below the lines."""
        found = [
            ("Rounding", self.rounding),
            ("Total", self.total),
            ("Paid in", self.paid_in),
            ("Given back", self.refunded),
            ("Still in escrow", self.in_escrow),
            ("Owed", self.owed),
        ]
        return [(name, show(amount, self.currency)) for name, amount in found]

    def as_text(self) -> str:
        """Return the invoice as text."""
        head = [
            f"Invoice {self.number}",
            f"From     {self.issuer}",
            f"For      {self.customer}",
            "",
        ]
        lines = [
            f"{line.dseq:>5}  {line.group:<16} {line.provider[:20]:<20} "
            f"{(line.ended - line.started) / 1000:>10.1f} s  {line.per_hour:>18}  "
            f"{show(line.amount, self.currency):>16}"
            for line in self.lines
        ]
        foot = [f"{name:<20}{amount:>20}" for name, amount in self.rows()]
        proof = f"{self.postings} postings; it {'adds up' if self.adds_up else 'DOES NOT ADD UP'}."
        return "\n".join([*head, *lines, "", *foot, "", proof])

    def as_html(self) -> str:
        """Return the invoice as a page that stands for itself."""
        rows = "".join(
            f"<tr><td>{line.dseq}</td><td>{html.escape(line.group)}</td>"
            f"<td>{html.escape(line.provider)}</td>"
            f"<td>{(line.ended - line.started) / 1000:.1f} s</td>"
            f"<td>{line.per_hour}</td><td>{show(line.amount, self.currency)}</td></tr>"
            for line in self.lines
        )
        foot = "".join(f"<tr><th>{name}</th><td>{amount}</td></tr>" for name, amount in self.rows())
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f"<title>Invoice {html.escape(self.number)}</title></head><body>"
            f"<h1>Invoice {html.escape(self.number)}</h1>"
            f"<p>From {html.escape(self.issuer)}<br>For {html.escape(self.customer)}</p>"
            "<table><thead><tr><th>Deployment</th><th>Group</th><th>Provider</th><th>Time</th>"
            f"<th>Price</th><th>Amount</th></tr></thead><tbody>{rows}</tbody></table>"
            f"<table>{foot}</table></body></html>"
        )


class AccountInfo(msgspec.Struct, frozen=True):
    """An account of the ledger."""

    account: str
    holds: str
    micro: int
