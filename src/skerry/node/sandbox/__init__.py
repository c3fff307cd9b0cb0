"""What keeps apps apart on one machine: users, Landlock, seccomp, cgroups, namespaces.

`confine` is called in a child before it reads a user's byte; `prepare` and `expose` once in the
zygote; `cgroup.detect` once in the node. `abilities` tells `skerry doctor` what the machine allows.
"""

from skerry.node.sandbox.abilities import Ability, abilities
from skerry.node.sandbox.confinement import Confinement, confine, prepare
from skerry.node.sandbox.identity import Identity, identities
from skerry.node.sandbox.limits import Limits, Membership
from skerry.node.sandbox.namespaces import expose

__all__ = [
    "Ability",
    "Confinement",
    "Identity",
    "Limits",
    "Membership",
    "abilities",
    "confine",
    "expose",
    "identities",
    "prepare",
]
