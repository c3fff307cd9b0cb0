"""The federation as a service of a node: binding machines of different owners."""

from __future__ import annotations

from skerry.federation import messages as m
from skerry.kernel.commands import Command, Done, Nothing
from skerry.kernel.service import Page, Service

SERVICE = Service(
    name="federation",
    summary="Bind nodes of different owners, and see them",
    commands=(
        Command("federation.invite", "Let one other node join this one", m.Invite, m.Invited, True),
        Command("federation.join", "Join a node that has invited this one", m.Join, Done, True),
        Command(
            "federation.nodes",
            "Show every node: owner, country, health, what it holds",
            Nothing,
            list[m.NodeInfo],
        ),
        Command(
            "federation.place",
            "Move an app, or one resource of it, to another node",
            m.Place,
            m.Placed,
            True,
        ),
        Command(
            "federation.residency.show",
            "How well it is shown where nodes are",
            m.OfNode,
            list[m.ResidencyInfo],
        ),
        Command(
            "federation.residency.document",
            "Let a facility's contract or certificate count (R1)",
            m.Document,
            m.ResidencyInfo,
            True,
        ),
        Command(
            "federation.residency.measure",
            "Let witnesses bound how far a node can be (R2)",
            m.OfNode,
            m.Measured,
            True,
        ),
        Command(
            "federation.residency.quote",
            "Ask a node's TPM for a quote (R3)",
            m.OfNode,
            m.ResidencyInfo,
            True,
        ),
        Command(
            "federation.revoke",
            "Unbind a node, and refuse its key for ever",
            m.NodeNamed,
            Done,
            True,
            confirm="This node will refuse the key of {name} for ever.",
        ),
        Command(
            "federation.audit",
            "Read back from every node's bus what lies there and who is connected",
            Nothing,
            m.Audited,
        ),
    ),
    handler="handler:Federation",
    ports={"federation": 7880, "bus": 7881, "bus-abroad": 7882},
    pages=(Page("/nodes", "Nodes", "page:view", "nodes.html", live="_nodes.html", menu="Nodes"),),
    words={
        "node invite": "federation.invite",
        "node join": "federation.join",
        "node revoke": "federation.revoke",
        "node audit": "federation.audit",
        "nodes": "federation.nodes",
        "residency show": "federation.residency.show",
        "residency document": "federation.residency.document",
        "residency measure": "federation.residency.measure",
        "residency quote": "federation.residency.quote",
        "place": "federation.place",
    },
)
