"""`skerry market shell`: this terminal, connected to one beside a leased service."""

from __future__ import annotations

from skerry.kernel.commands import Reach
from skerry.market.service import Shell
from skerry.node.workload.service import Left
from skerry.node.workload.shell import talk

PATH = "/market/session"


def run(params: Shell, reach: Reach) -> Left:
    """Run a program to its end. Raises what the node, or the provider, refuses it with."""
    ask = {"dseq": params.dseq, "service": params.service, "argv": params.command}
    return Left(talk(reach, PATH, ask))
