"""What the market offers on every surface: its commands, wires and pages."""

from __future__ import annotations

from typing import Annotated, Literal

from skerry.kernel.commands import Command, Done, Nothing, Params, about
from skerry.kernel.service import Mount, Page, Service
from skerry.market import results as r
from skerry.node.workload.service import Left

Dseq = Annotated[int, about("the deployment's number", positional=True)]
Amount = Annotated[str, about("an amount of money, such as 5 or 0.25", positional=True)]


class ProviderStart(Params, frozen=True):
    """Parameters of `market.provider.start`."""

    country: Annotated[str, about("the country of the machine, as two letters")]
    name: Annotated[str, about("its name in the market; by default the node's")] = ""
    market: Annotated[
        tuple[str, ...],
        about(
            "another node's market: its address, or the name of a node that is bound to this one"
        ),
    ] = ()
    price_script: Annotated[str, about("a program that prices orders, by Akash's contract")] = ""
    cpu_price: Annotated[str, about("what an hour of a core costs")] = ""
    memory_price: Annotated[str, about("what an hour of a GiB of memory costs")] = ""
    posted: Annotated[bool, about("offer these prices to orders that do not wait for bids")] = False
    notice_hours: Annotated[int, about("the notice before it ends a lease by itself")] = 0
    attribute: Annotated[tuple[str, ...], about("an attribute, as key=value")] = ()
    share: Annotated[int, about("percent of memory and disk to offer")] = 90


class Admit(Params, frozen=True):
    """Parameters of `market.admit`."""

    address: Annotated[str, about("the provider's address", positional=True)]
    credit: Annotated[str, about("money to start with, for the deposits of its bids")] = "5"
    remove: Annotated[bool, about("admit it no longer")] = False


class Fund(Params, frozen=True):
    """Parameters of `market.fund`."""

    amount: Amount
    to: Annotated[str, about("whose wallet; by default this node's owner's")] = ""


class Sign(Params, frozen=True):
    """Parameters of `market.sign`."""

    provider: Annotated[str, about("the provider's address", positional=True)]
    attribute: Annotated[
        tuple[str, ...], about("what is vouched for, as key=value", positional=True, repeat=True)
    ] = ()


class Bond(Params, frozen=True):
    """Parameters of `market.provider.bond`."""

    amount: Amount
    back: Annotated[bool, about("take it back")] = False


class Deploy(Params, frozen=True):
    """Parameters of `market.deploy`."""

    file: Annotated[str, about("an Akash SDL file", positional=True, file=True)]
    file_name: Annotated[str, about("how errors call the file; by default its path")] = ""
    deposit: Annotated[str, about("how much to put into escrow")] = "5"
    name: Annotated[str, about("a name, for lists")] = ""
    dry_run: Annotated[bool, about("say who would serve it, and why others not; order nothing")] = (
        False
    )
    clearing: Annotated[
        Literal["", "manual", "first-score", "second-score", "posted"],
        about("how a provider is found; by default as the file says, else second-score"),
    ] = ""
    window_ms: Annotated[int | None, about("how long bids may come in")] = None
    country: Annotated[tuple[str, ...], about("only providers there")] = ()
    owner: Annotated[tuple[str, ...], about("only these providers")] = ()
    isolation: Annotated[str, about("the sandbox: wasm, bwrap, crun or gvisor")] = ""
    verification: Annotated[str, about("none, probe, audit(0.05) or replicate(2)")] = ""
    bond: Annotated[str, about("only providers that staked as much")] = ""
    reserve: Annotated[
        str,
        about("what a lone bidder is paid by second-score, at least: a share of the limit, 60%"),
    ] = ""
    for_app: Annotated[str, about("the app whose policy decides where it may run")] = ""
    wait: Annotated[float, about("how many seconds to wait for leases")] = 30.0


class OfDeployment(Params, frozen=True):
    """A deployment."""

    dseq: Dseq


class MaybeDeployment(Params, frozen=True):
    """A deployment, or all of them."""

    dseq: Annotated[
        int | None, about("the deployment's number; by default the last", positional=True)
    ] = None


class Accept(Params, frozen=True):
    """Parameters of `market.accept`."""

    bid: Annotated[str, about("the bid, as owner/dseq/gseq/oseq/provider", positional=True)]


class Leases(Params, frozen=True):
    """Parameters of `market.leases`."""

    all: Annotated[bool, about("those that have ended too")] = False


class Logs(Params, frozen=True):
    """Parameters of `market.logs`."""

    dseq: Dseq
    service: Annotated[str, about("one service; by default all")] = ""
    lines: Annotated[int, about("how many of the last lines")] = 100
    follow: Annotated[bool, about("go on as lines come")] = False


class Shell(Params, frozen=True):
    """Parameters of `market.shell`."""

    dseq: Dseq
    command: Annotated[
        tuple[str, ...], about("by default /bin/sh", positional=True, repeat=True)
    ] = ("/bin/sh",)
    service: Annotated[str, about("which service; by default the first")] = ""


class Execute(Params, frozen=True):
    """Parameters of `market.exec`."""

    dseq: Dseq
    command: Annotated[
        tuple[str, ...], about("the command and its arguments", positional=True, repeat=True)
    ]
    service: Annotated[str, about("which service; by default the first")] = ""
    stdin: Annotated[str, about("what the command reads")] = ""


class Deposit(Params, frozen=True):
    """Parameters of `market.deposit`."""

    dseq: Dseq
    amount: Amount


class Update(Params, frozen=True):
    """Parameters of `market.update`."""

    dseq: Dseq
    file: Annotated[str, about("the SDL file, with the same resources", positional=True, file=True)]
    file_name: Annotated[str, about("how errors call the file; by default its path")] = ""


class InvoiceOf(Params, frozen=True):
    """Parameters of `market.invoice`."""

    dseq: Annotated[
        int | None, about("the deployment's number; by default all of them", positional=True)
    ] = None
    format: Annotated[Literal["text", "html"], about("how it is written")] = "text"


class ProviderClose(Params, frozen=True):
    """Parameters of `market.provider.close`."""

    lease: Annotated[str, about("owner/dseq/gseq/oseq/provider", positional=True)]
    reason: Annotated[
        Literal["unstable", "decommission", "unspecified"], about("why the lease ends")
    ] = "unspecified"
    announce: Annotated[bool, about("only announce it, where the lease promises notice")] = False


SERVICE = Service(
    name="market",
    summary="Buy and sell compute",
    commands=(
        Command("market.overview", "What this node's market is and holds", Nothing, r.Overview),
        Command("market.fund", "Note money that somebody paid in", Fund, Done, mutates=True),
        Command("market.admit", "Let a provider offer here", Admit, Done, mutates=True),
        Command("market.sign", "Vouch for a provider's attributes", Sign, Done, mutates=True),
        Command(
            "market.providers",
            "List the providers, and how they did",
            Nothing,
            list[r.ProviderInfo],
            empty="No providers yet. Run `skerry market provider start --country FI`.",
        ),
        Command(
            "market.provider.start",
            "Offer this machine",
            ProviderStart,
            r.ProviderStarted,
            mutates=True,
        ),
        Command("market.provider.stop", "Offer nothing more", Nothing, Done, mutates=True),
        Command("market.provider.show", "What this machine offers", Nothing, r.ProviderShown),
        Command("market.provider.withdraw", "Take what leases earned", Nothing, Done, mutates=True),
        Command("market.provider.bond", "Stake money on good conduct", Bond, Done, mutates=True),
        Command(
            "market.provider.close",
            "End a lease that this machine serves",
            ProviderClose,
            Done,
            mutates=True,
        ),
        Command(
            "market.deploy",
            "Order what a file describes",
            Deploy,
            r.Deployed,
            mutates=True,
            spends="deposit",
        ),
        Command(
            "market.bids",
            "Show the bids on a deployment, and why others did not win",
            MaybeDeployment,
            list[r.BidInfo],
            empty="Nobody answered yet.",
        ),
        Command("market.accept", "Take a bid by hand", Accept, r.Deployed, mutates=True),
        Command(
            "market.leases",
            "List the leases, their cost, and how long the money lasts",
            Leases,
            list[r.LeaseInfo],
            empty="No leases. Run `skerry market deploy deploy.yaml`.",
        ),
        Command("market.status", "How a deployment fares", OfDeployment, list[r.ServiceInfo]),
        Command("market.logs", "What a deployment said", Logs, r.LineInfo, streams=True),
        Command("market.exec", "Run a command beside a service", Execute, r.Ran, mutates=True),
        Command(
            "market.shell",
            "Open a terminal beside a service",
            Shell,
            Left,
            local="shell:run",
            reaches=True,
        ),
        Command("market.update", "Run a new version of a file", Update, r.Deployed, mutates=True),
        Command("market.deposit", "Add money to a deployment", Deposit, Done, mutates=True),
        Command("market.start", "Ask for providers again", OfDeployment, r.Deployed, mutates=True),
        Command(
            "market.close",
            "End a deployment",
            OfDeployment,
            Done,
            mutates=True,
            confirm="This ends deployment {dseq} and removes what it stored.",
        ),
        Command("market.invoice", "What was used, and what it cost", InvoiceOf, r.Invoice),
        Command(
            "market.books",
            "Every account and what it holds",
            Nothing,
            list[r.AccountInfo],
            empty="No money moved yet.",
        ),
    ),
    handler="handler:Handler",
    checks="health:checks",
    mounts=(
        Mount("/market/v1", "wires.market:make"),
        Mount("/market/provider", "wires.provider:make"),
        Mount("/market/console", "wires.console:make"),
        Mount("/market/session", "wires.session:make"),
        Mount("/akash", "wires.gateway:make"),
    ),
    pages=(
        Page(
            "/market", "Market", "pages:market", "market.html", live="_market.html", menu="Market"
        ),
        Page(
            "/market/deployments/{dseq}",
            "Deployment",
            "pages:deployment",
            "deployment.html",
            live="_deployment.html",
        ),
        Page("/market/invoices/{dseq}", "Invoice", "pages:invoice", "invoice.html"),
        Page(
            "/market/providers",
            "Providers",
            "pages:providers",
            "providers.html",
            live="_providers.html",
        ),
    ),
)
