"""From a file to running leases: dry runs, orders, and the manifest's way to the providers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from skerry.kernel.errors import SkerryError
from skerry.kernel.names import nearest
from skerry.market import present
from skerry.market import results as r
from skerry.market.core import messages as m
from skerry.market.core import prices
from skerry.market.core.award import posted_price
from skerry.market.core.clearing import all_obstacles
from skerry.market.core.entities import Group, Lease, Provider
from skerry.market.core.names import DeploymentId, GroupId, OrderId
from skerry.market.core.needs import need
from skerry.market.core.states import RUNNING
from skerry.market.core.terms import Rule, Terms, Verification
from skerry.market.courier import may_pass
from skerry.market.link import OrderNotice
from skerry.market.provider.inventory import Inventory
from skerry.market.tenant import Plan

Progress = Callable[[int, int, str], None]
WAIT_SECONDS_MAX = 600.0


class Placing:
    """Places the orders of this node's owner."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    async def deploy(
        self, plan: Plan, deposit: int, name: str, wait: float, progress: Progress
    ) -> r.Deployed:
        """Order, wait for leases, and hand the manifest over; repeat the work where asked."""
        handler = self._handler
        started = handler.clock.monotonic()
        check = max((each.verification for each in plan.terms), key=_weight)
        unit = handler.node.entropy.bytes(8).hex() if check.level in ("audit", "replicate") else ""
        first = await handler.tenant.create(plan, deposit, name, unit=unit)
        done = await self.await_and_hand_over(first, wait, progress)
        for number in range(1, self._repeats(check, first)):
            barred = self._serving(unit)
            terms = tuple(_but(each, barred) for each in plan.terms)
            again = msgspec.structs.replace(plan, terms=terms)
            progress(number, check.replicas, "repeating the work on another provider")
            copy = await handler.tenant.create(again, deposit, f"{name} (check)", unit=unit)
            checked = await self.await_and_hand_over(copy, wait, progress)
            done = _joined(done, checked)
        seconds = round(handler.clock.monotonic() - started, 3)
        return _with_seconds(done, seconds)

    def _repeats(self, check: Verification, first: DeploymentId) -> int:
        """Return how often the work is done in all; trusted providers are checked less often."""
        handler = self._handler
        draw = int.from_bytes(handler.node.entropy.bytes(4), "big")
        if check.level == "audit":
            return 2 if draw * 1_000_000 < check.share_ppm << 32 else 1
        if check.level != "replicate":
            return 1
        state = handler.exchange.state
        winners = [lease.id.provider for lease in state.leases_of(first)]
        records = [state.providers[each].record for each in winners]
        if records and not any(record.must_repeat(draw) for record in records):
            return 1
        return check.replicas

    def _serving(self, unit: str) -> tuple[str, ...]:
        state = self._handler.exchange.state
        found = {
            lease.id.provider: None
            for deployment in state.units.get(unit, ())
            for lease in state.leases_of(deployment)
        }
        return tuple(found)

    async def await_and_hand_over(
        self, name: DeploymentId, wait: float, progress: Progress
    ) -> r.Deployed:
        """Wait for leases, then hand the manifest over."""
        handler = self._handler
        state = handler.exchange.state
        progress(0, 0, "waiting for bids")
        manual = all(
            state.groups[each].terms.clearing is Rule.MANUAL
            for each in state.deployments[name].groups
        )
        if manual:
            return r.Deployed(
                f"Deployment {name.dseq} waits for bids; take one by hand.",
                dseq=name.dseq,
                next=f"skerry market bids {name.dseq}",
            )
        if not state.providers:
            return r.Deployed(
                f"Deployment {name.dseq} waits: there is no provider in this market. It starts by "
                "itself when one comes and bids.",
                dseq=name.dseq,
                feasible=False,
                next="skerry market provider start --country FI",
            )
        if not await handler.tenant.await_leases(name, min(max(wait, 0.0), WAIT_SECONDS_MAX)):
            return r.Deployed(
                f"Deployment {name.dseq} has no provider yet. It starts by itself when one bids.",
                dseq=name.dseq,
                feasible=False,
                obstacles=self._answers(name),
                next=f"skerry market bids {name.dseq}",
            )
        return await self.hand_over(name, progress)

    def _answers(self, name: DeploymentId) -> tuple[r.Obstacle, ...]:
        found = present.bids(self._handler, name)
        return tuple(r.Obstacle(each.order, each.provider, (each.why,)) for each in found)

    async def hand_over(
        self, name: DeploymentId, progress: Progress, *, keep: bool = False
    ) -> r.Deployed:
        """Send the manifest to the providers, and tell where the services answer.

        A deployment whose manifest is refused is closed, unless it is to be kept.
        """
        handler = self._handler
        progress(0, 0, "starting what was ordered")
        leases = [e for e in handler.exchange.state.leases_of(name) if e.state in RUNNING]
        try:
            for lease in leases:
                await handler.courier.deliver(lease)
        except SkerryError as error:
            if not (may_pass(error) or keep):
                # Nothing would run, and the lease would be paid for until it timed out.
                await handler.submit(m.CloseDeployment(name))
            raise
        urls = [url for lease in leases for url in await self._urls(lease)]
        return r.Deployed(
            f"Deployment {name.dseq} runs.",
            dseq=name.dseq,
            leases=tuple(present.lease(handler, each) for each in leases),
            urls=tuple(urls),
            notes=tuple(filter(None, (present.price_note(handler, each) for each in leases))),
            next=f"skerry market status {name.dseq}",
        )

    async def _urls(self, lease: Lease) -> list[str]:
        found = await self._handler.tenant.status_or_none(lease)
        return [uri for each in (found or {}).values() for uri in each.uris]

    async def dry_run(self, plan: Plan) -> r.Deployed:
        """Tell who could serve a plan, what stands in the others' way, and what is nearest."""
        obstacles: list[r.Obstacle] = []
        open_groups, hints = [], []
        for index, spec in enumerate(plan.groups):
            group = Group(
                GroupId(self._handler.wallet.address, 0, index + 1),
                spec,
                plan.terms[index],
                0,
                plan.images[index],
            )
            found = await self._obstacles(group)
            obstacles += [
                r.Obstacle(spec.name, present.name_of(self._handler, who), tuple(why))
                for who, why in found.items()
            ]
            if not any(not why for why in found.values()):
                open_groups.append(spec.name)
                hints.append(self._nearest(group, found))
        feasible = not open_groups
        text = (
            "Every group has a provider."
            if feasible
            else (f"Nobody can serve {', '.join(open_groups)}.")
        )
        return r.Deployed(
            f"{text} Nothing was ordered.",
            feasible=feasible,
            obstacles=tuple(obstacles),
            nearest=" ".join(hints),
        )

    async def _obstacles(self, group: Group) -> dict[str, list[str]]:
        """Return for every provider what stands in the way: as the market knows it, and as this
        node's own provider says itself.
        """
        handler = self._handler
        state = handler.exchange.state
        filters = state.board.filters(group, state.bond)
        agent = handler.agent

        def also(address: str) -> list[str]:
            if agent is not None and address == agent.address:
                return []
            return _known_obstacles(state.providers[address], group, state.limit(group))

        found = all_obstacles(state.board, filters, also)
        if agent is not None and agent.address in found:
            notice = OrderNotice(
                OrderId(*group.id, 0), group.spec, group.terms, state.limit(group), group.images
            )
            found[agent.address] += await agent.assess(notice)
        return found

    def _nearest(self, group: Group, found: dict[str, list[str]]) -> str:
        """Return the smallest change by which somebody could serve a group."""
        if not found:
            return "There is no provider in this market: skerry market provider start."
        state = self._handler.exchange.state
        who = min(found, key=lambda each: (len(found[each]), each))
        changes = [_change(state.providers[who], group, each) for each in found[who]]
        name = present.name_of(self._handler, who)
        return f"Nearest for {group.spec.name}: {name} could serve it with {'; '.join(changes)}."


def _known_obstacles(provider: Provider, group: Group, limit: Any) -> list[str]:
    """Return what a provider's own description says against it."""
    found = Inventory(provider.capacity).obstacles(need(group.spec))
    wanted = group.terms.isolation or "bwrap"
    if wanted not in provider.isolation:
        found.append(f"isolation: it does not offer {wanted}")
    for image in group.images:
        last = image.rpartition("/")[2]
        names = {image, image if ":" in last or "@" in last else f"{image}:latest"}
        if not names & set(provider.images):
            found.append(f"image: {image} is not in its catalogue")
    if provider.posted is not None:
        asked = posted_price(provider.posted, group.spec)
        if prices.dearer(asked, limit):
            found.append(
                f"price: its list comes to {prices.per_hour(asked, 'EUR')}, the limit is "
                f"{prices.per_hour(limit, 'EUR')}"
            )
    return list(dict.fromkeys(found))


def _change(provider: Provider, group: Group, reason: str) -> str:
    """Return what a tenant would have to change for one reason to fall away."""
    kind, _, rest = reason.partition(": ")
    if kind == "capacity":
        return f"less ({rest})"
    if kind == "policy":
        return f"a policy that lets in {provider.country} and {provider.name}"
    if kind == "isolation":
        return f"isolation {' or '.join(provider.isolation) or '(it has none)'}"
    if kind == "image":
        images = sorted(provider.images)
        wanted = next((each for each in group.images if each in rest), "")
        guess = nearest(wanted, images) or ", ".join(images[:5]) or "(it has none)"
        return f"an image of its catalogue: {guess}"
    if kind == "price":
        return f"a higher limit ({rest})"
    if kind == "bond":
        return "a lower bond"
    return f"without this condition ({rest or reason})"


def _weight(check: Verification) -> tuple[int, int]:
    return ("none", "probe", "audit", "replicate").index(check.level), check.replicas


def _but(terms: Terms, barred: tuple[str, ...]) -> Terms:
    return msgspec.structs.replace(terms, not_providers=barred)


def _joined(one: r.Deployed, other: r.Deployed) -> r.Deployed:
    return r.Deployed(
        f"{one.message} {other.message}",
        dseq=one.dseq,
        leases=(*one.leases, *other.leases),
        urls=(*one.urls, *other.urls),
        feasible=one.feasible,
        obstacles=(*one.obstacles, *other.obstacles),
        notes=(*one.notes, *other.notes),
        next=one.next,
    )


def _with_seconds(done: r.Deployed, seconds: float) -> r.Deployed:
    return msgspec.structs.replace(done, seconds=seconds)
