"""A seeded history of nodes that lead by leases: what must hold whatever happens to them.

Nodes crash and come back, sleep through their lease and wake, are cut off from the register and
from each other, and have clocks that run apart. A client writes through whoever leads; the leader
sends each write with its epoch to its replicas and acknowledges it when most of them have it.

    python -m skerry.testing.leasing 17 18      # plays the histories of these seeds
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from skerry.kernel.errors import SkerryError
from skerry.kernel.lease import DRIFT, Fence, RegisterLeases, Slot, Tenure
from skerry.testing.leases import MemoryRegister
from skerry.testing.simulation import DriftingClock, Network, run_simulated

SUBJECT = "shop"
REGISTER = "register"
LEASE_SECONDS = 3.0
LOOK_SECONDS = 0.04

Writes = list[tuple[int, int]]
"""The writes of a copy in order, each with its epoch."""


@dataclass(frozen=True)
class Story:
    """What decides a history."""

    seed: int
    nodes: int = 3
    seconds: float = 120.0
    drift: float = DRIFT


def play(story: Story) -> int:
    """Play a history; return how often the lease was taken.

    Raises AssertionError if two nodes served at one moment, or an acknowledged write was lost; it
    says how to play the same history again.
    """
    try:
        return run_simulated(lambda: _World(story).play())
    except AssertionError as error:
        error.add_note(
            f"python -m skerry.testing.leasing {story.seed} --nodes {story.nodes} "
            f"--seconds {story.seconds:g} --drift {story.drift:g}"
        )
        raise


class _FarRegister:
    """The register as a node reaches it."""

    def __init__(self, network: Network, name: str, register: MemoryRegister) -> None:
        self._network = network
        self._name = name
        self._register = register

    async def read(self, subject: str) -> Slot | None:
        """See `Register.read`."""
        return await self._network.ask(self._name, REGISTER, lambda: self._register.read(subject))

    async def write(self, subject: str, data: bytes, revision: int) -> int:
        """See `Register.write`."""
        return await self._network.ask(
            self._name, REGISTER, lambda: self._register.write(subject, data, revision)
        )

    async def watch(self) -> AsyncIterator[tuple[str, Slot]]:
        """See `Register.watch`; what changes meanwhile is found by asking again and again."""
        revisions: dict[str, int] = {}
        while True:
            slot = await self.read(SUBJECT)
            if slot and revisions.get(SUBJECT) != slot.revision:
                revisions[SUBJECT] = slot.revision
                yield SUBJECT, slot
            await asyncio.sleep(1)


@dataclass
class _Copy:
    """What a node keeps durably: the writes in order, each with its epoch, and its fence."""

    fence: Fence = field(default_factory=lambda: Fence(SUBJECT))
    writes: Writes = field(default_factory=list)


class _Member:
    """A node: it tries to lead, and keeps a copy."""

    def __init__(self, world: _World, name: str) -> None:
        self.world = world
        self.name = name
        drift = world.story.drift
        self.clock = DriftingClock(
            world.chance.uniform(0, 1e6), 1 + world.chance.uniform(-drift, drift)
        )
        self.copy = _Copy()
        self.tenure: Tenure | None = None
        self.asleep = False

    def serves(self) -> bool:
        """Tell whether the node would answer a client now."""
        return not self.asleep and self.tenure is not None and self.tenure.may_serve()

    async def live(self) -> None:
        """Take the lease whenever it is free, hold it, and take in what others have first."""
        register = _FarRegister(self.world.network, self.name, self.world.register)
        leases = RegisterLeases(register, self.clock)
        while True:
            await asyncio.sleep(self.world.chance.uniform(0.1, 0.6))
            try:
                lease = await leases.acquire(SUBJECT, self.name, LEASE_SECONDS)
            except SkerryError:
                continue
            self.world.takings += 1
            tenure = Tenure(leases, self.clock, lease)
            keeping = asyncio.ensure_future(tenure.keep())
            try:
                if await self._take_in(lease.epoch):
                    self.tenure = tenure
                await keeping
            finally:
                keeping.cancel()
                self.tenure = None

    async def _take_in(self, epoch: int) -> bool:
        """Fence most copies with the new epoch, and adopt the furthest of them."""
        found = [each for each in await self._all(lambda m: m.fenced(epoch)) if each is not None]
        if len(found) <= self.world.story.nodes // 2:
            return False
        best = max(found, key=lambda writes: (writes[-1] if writes else (0, 0), len(writes)))
        sent = [(epoch, value) for _, value in best]
        return await self.replicate(epoch, sent)

    async def _all(self, ask: Callable[[_Member], Awaitable[Writes]]) -> list[Writes | None]:
        """Ask every copy; None from those that do not answer, or refuse."""

        async def one(member: _Member) -> Writes | None:
            with contextlib.suppress(SkerryError):
                if member is self:
                    return await ask(member)
                return await self.world.network.ask(self.name, member.name, lambda: ask(member))
            return None

        return list(await asyncio.gather(*map(one, self.world.members)))

    async def replicate(self, epoch: int, writes: Writes) -> bool:
        """Send all writes with an epoch to every copy; tell whether most have them."""
        kept = await self._all(lambda m: m.keep(epoch, writes))
        return sum(each is not None for each in kept) > self.world.story.nodes // 2

    async def fenced(self, epoch: int) -> Writes:
        """Refuse older epochs from now on; return the copy."""
        self.copy.fence.admit(epoch)
        return list(self.copy.writes)

    async def keep(self, epoch: int, writes: Writes) -> Writes:
        """Keep a leader's writes; raise FENCED if it is an old one. A late one undoes nothing."""
        is_new = self.copy.fence.admit(epoch)
        ours = self.copy.writes
        if is_new or not ours or ours[-1][0] < epoch or len(writes) >= len(ours):
            self.copy.writes = list(writes)
        return writes


class _World:
    """The nodes, the register, the network, and what clients were told."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.chance = random.Random(story.seed)  # noqa: S311 (a seeded history)
        self.network = Network(self.chance)
        self.register = MemoryRegister()
        self.takings = 0
        self.acknowledged: list[int] = []
        self.members = [_Member(self, f"node-{number}") for number in range(story.nodes)]

    async def play(self) -> int:
        """See the function `play`."""
        loop = asyncio.get_running_loop()
        lives = {each: asyncio.create_task(each.live()) for each in self.members}
        others = [asyncio.ensure_future(work) for work in (self._write(), self._watch())]
        try:
            while loop.time() < self.story.seconds:
                await asyncio.sleep(self.chance.expovariate(1 / 6))
                await self._harm(lives)
                for each in others:
                    if each.done():
                        each.result()
        finally:
            for each in (*lives.values(), *others):
                each.cancel()
            await asyncio.gather(*lives.values(), *others, return_exceptions=True)
        self._check_writes()
        return self.takings

    async def _harm(self, lives: dict[_Member, asyncio.Task[None]]) -> None:
        """Let one thing go wrong, or mend all."""
        member = self.chance.choice(self.members)
        names = [each.name for each in self.members]
        what = self.chance.choice(("crash", "sleep", "cut", "island", "heal", "heal"))
        if what == "crash":
            lives[member].cancel()
            await asyncio.gather(lives[member], return_exceptions=True)
            await asyncio.sleep(self.chance.uniform(0, 2))
            lives[member] = asyncio.create_task(member.live())
        elif what == "sleep":
            member.asleep = True
            await asyncio.sleep(self.chance.uniform(1, 12))
            member.asleep = False
        elif what == "cut":
            self.network.part([member.name], [REGISTER])
        elif what == "island":
            self.network.part([member.name], [REGISTER, *(n for n in names if n != member.name)])
        else:
            self.network.heal()

    async def _watch(self) -> None:
        """See at every moment that at most one node would serve."""
        while True:
            serving = [each.name for each in self.members if each.serves()]
            assert len(serving) <= 1, f"{serving} serve at one moment (seed {self.story.seed})"
            await asyncio.sleep(LOOK_SECONDS)

    async def _write(self) -> None:
        """Write through whoever leads; note what was acknowledged."""
        number = 0
        while True:
            await asyncio.sleep(self.chance.uniform(0.05, 0.3))
            leader = next((each for each in self.members if each.serves()), None)
            if leader is None or leader.tenure is None:
                continue
            number += 1
            tenure, epoch = leader.tenure, leader.tenure.lease.epoch
            sent = [*leader.copy.writes, (epoch, number)]
            if await leader.replicate(epoch, sent) and tenure.may_serve():
                self.acknowledged.append(number)

    def _check_writes(self) -> None:
        """See that most copies, taken together as a new leader would, hold all acknowledged."""
        most = self.story.nodes // 2 + 1
        copies = [each.copy.writes for each in self.members]
        for number in self.acknowledged:
            holders = sum(any(value == number for _, value in copy) for copy in copies)
            assert holders >= most, f"write {number} was lost (seed {self.story.seed})"


def main() -> None:
    """Play histories, and tell how often the lease was taken in each."""
    parser = argparse.ArgumentParser(description="Play seeded histories of nodes that lead.")
    parser.add_argument("seeds", nargs="+", type=int, metavar="SEED")
    for name, usual in (("nodes", Story.nodes), ("seconds", Story.seconds), ("drift", Story.drift)):
        parser.add_argument(f"--{name}", type=type(usual), default=usual)
    given = parser.parse_args()
    for seed in given.seeds:
        taken = play(Story(seed, given.nodes, given.seconds, given.drift))
        sys.stdout.write(f"seed {seed}: the lease was taken {taken} times\n")


if __name__ == "__main__":
    main()
