"""The tenant's side: from a file to running leases, and what one does with them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.clock import Clock
from skerry.kernel.errors import CONFLICT, INVALID, SkerryError
from skerry.market.core import messages as m
from skerry.market.core.entities import Lease, Order
from skerry.market.core.names import DeploymentId
from skerry.market.core.state import State
from skerry.market.core.states import RUNNING, DeploymentState, OrderState
from skerry.market.core.terms import Terms, read_terms
from skerry.market.exchange import Exchange, check_running
from skerry.market.identity.keys import Wallet
from skerry.market.link import LogLine, ProviderLink, ServiceStatus
from skerry.market.sdl.build import manifest_bytes
from skerry.market.sdl.model import GroupSpec, Sdl
from skerry.market.sdl.parse import parse
from skerry.node.home import write_secret

STATUS_SECONDS = 10.0
NAME_LENGTH_MAX = 200


class Plan(msgspec.Struct, frozen=True):
    """A file, read, with the terms of each of its groups."""

    sdl: Sdl
    groups: tuple[GroupSpec, ...]
    terms: tuple[Terms, ...]
    images: tuple[tuple[str, ...], ...]
    app: str = ""


class Tenant:
    """What this node's owner deploys in its own market."""

    def __init__(
        self,
        exchange: Exchange,
        wallet: Wallet,
        clock: Clock,
        directory: Path,
        reach: Callable[[str], ProviderLink],
    ) -> None:
        self._exchange = exchange
        self._wallet = wallet
        self._clock = clock
        self._directory = directory
        self._reach = reach
        self._placing = asyncio.Lock()

    @property
    def address(self) -> str:
        """Whose deployments these are."""
        return self._wallet.address

    @property
    def _state(self) -> State:
        return self._exchange.state

    def plan(self, text: str, name: str = "", **changes: Any) -> Plan:
        """Read a file; `changes` to its terms come last. Raises INVALID with every mistake."""
        sdl = parse(text, name[:NAME_LENGTH_MAX] or "deploy.yaml")
        base = Terms(reclamation_seconds=sdl.reclamation_seconds)
        groups, terms = [], []
        for group in sdl.groups:
            found, plain = read_terms(group.attributes, base)
            groups.append(msgspec.structs.replace(group, attributes=plain))
            terms.append(msgspec.structs.replace(found, **changes))
        images = tuple(
            tuple(dict.fromkeys(service["image"] for service in group["services"]))
            for group in sdl.manifest
        )
        return Plan(sdl, tuple(groups), tuple(terms), images)

    async def create(
        self, plan: Plan, deposit: int, name: str = "", pro_rata: bool = False, unit: str = ""
    ) -> DeploymentId:
        """Place the orders of a plan; the manifest is kept, to be sent when there are leases."""
        owner = self._wallet.address
        message = m.CreateDeployment(
            owner=owner,
            groups=plan.groups,
            terms=plan.terms,
            manifest_hash=plan.sdl.manifest_hash,
            deposit=deposit,
            name=name,
            pro_rata=pro_rata,
            unit=unit,
            images=plan.images,
            app=plan.app,
        )
        path = self._manifest_path(plan.sdl.manifest_hash)
        await asyncio.to_thread(write_secret, path, manifest_bytes(plan.sdl.manifest))
        async with self._placing:
            await self._exchange.submit(owner, message)
            return DeploymentId(owner, self._state.dseqs[owner])

    async def update(self, deployment: DeploymentId, plan: Plan) -> None:
        """Announce a new manifest; raise CONFLICT if it asks for other resources."""
        known = [
            self._state.groups[each].spec for each in self._state.deployment(deployment).groups
        ]
        if [_size(each) for each in known] != [_size(each) for each in plan.groups]:
            raise CONFLICT(
                f"The file asks for other resources than deployment {deployment.dseq} has.",
                why="A lease is for what was ordered.",
                hint="skerry market deploy",
            )
        digest = plan.sdl.manifest_hash
        data = manifest_bytes(plan.sdl.manifest)
        await asyncio.to_thread(write_secret, self._manifest_path(digest), data)
        await self._exchange.submit(self._wallet.address, m.UpdateDeployment(deployment, digest))

    def _manifest_path(self, digest: str) -> Path:
        return self._directory / f"manifest-{digest}.json"

    def has_manifest(self, deployment: DeploymentId) -> bool:
        """Tell whether this node has the manifest of a deployment: it was deployed from here."""
        return self._manifest_path(self._state.deployment(deployment).manifest_hash).exists()

    def manifest(self, deployment: DeploymentId) -> list[dict[str, Any]]:
        """Return the manifest of a deployment; raise CONFLICT if this node does not have it."""
        path = self._manifest_path(self._state.deployment(deployment).manifest_hash)
        if not path.exists():
            raise CONFLICT(f"This node does not have the manifest of {deployment}.")
        found: list[dict[str, Any]] = json.loads(path.read_text())
        return found

    def forget_manifest(self, deployment: DeploymentId) -> None:
        """Remove the manifest of a deployment that is closed, unless another has the same."""
        digest = self._state.deployment(deployment).manifest_hash
        others = (
            each
            for each in self._state.deployments.values()
            if each.manifest_hash == digest and each.state is DeploymentState.ACTIVE
        )
        if next(others, None) is None:
            self._manifest_path(digest).unlink(missing_ok=True)

    def check_manifest(self, deployment: DeploymentId, text: str) -> None:
        """Raise CONFLICT unless a text is the manifest of a deployment."""
        try:
            given = json.loads(text)
        except ValueError as error:
            raise INVALID("The manifest is not JSON.", why=str(error)) from error
        if manifest_bytes(given) != manifest_bytes(self.manifest(deployment)):
            raise CONFLICT(f"This is not the manifest of {deployment}.")

    async def await_leases(self, deployment: DeploymentId, seconds: float) -> bool:
        """Wait until every group of a deployment has a lease; return whether it has.

        It is not waited for a group that every provider has declined.
        """
        state = self._state

        def orders() -> Iterator[Order]:
            return map(state.latest_order, state.deployments[deployment].groups)

        def leased() -> bool:
            return all(each.state is OrderState.ACTIVE for each in orders())

        def declined() -> bool:
            count = len(state.providers)
            return any(not each.bids and len(each.declined) >= count for each in orders())

        await self._exchange.until(lambda: leased() or declined(), seconds)
        return leased()

    async def send_manifest(self, lease: Lease) -> None:
        """Send the manifest to the provider of a lease; raise what it answers."""
        manifest = await asyncio.to_thread(self.manifest, lease.id.deployment)
        await self.link(lease).send_manifest(lease.id, manifest)

    def link(self, lease: Lease) -> ProviderLink:
        """Return the way to a lease's provider."""
        return self._reach(lease.id.provider)

    async def status(self, lease: Lease) -> list[ServiceStatus]:
        """Return how a lease's services fare; raise the reason if it is closed."""
        check_running(lease)
        return await self.link(lease).status(lease.id)

    async def status_or_none(self, lease: Lease) -> dict[str, ServiceStatus] | None:
        """Return how a lease's services fare, or None if its provider does not tell now."""
        if lease.state not in RUNNING:
            return None
        try:
            async with asyncio.timeout(STATUS_SECONDS):
                return {each.name: each for each in await self.link(lease).status(lease.id)}
        except (SkerryError, TimeoutError):
            return None

    def logs(self, lease: Lease, service: str, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        """Yield what a lease's services said."""
        check_running(lease)
        return self.link(lease).logs(lease.id, service, lines, follow)


def _size(group: GroupSpec) -> Any:
    """Return what a group is leased for: its name and its resources, whatever it may cost."""
    return group.name, [(unit.resources, unit.count) for unit in group.resources]
