"""What this machine allows the sandbox, for `skerry doctor`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import msgspec

from skerry.node.sandbox import cgroup, identity, landlock, namespaces, seccomp

_TRUNCATION = " Linux 6.2 or later also keeps one app from emptying files of the same user."


class Ability(msgspec.Struct, frozen=True):
    """One means of isolation: whether it is there, at which level, and what is weaker without it.

    `without` is empty where nothing is missing.
    """

    name: str
    ok: bool
    level: str
    detail: str
    without: str = ""


def abilities() -> tuple[Ability, ...]:
    """Ask the machine for every means of isolation that `confine` uses."""
    return (_users(), _landlock(), _seccomp(), _cgroups(), _namespaces())


def _users() -> Ability:
    ids = identity.identities()
    if ids is not None:
        last = ids.first + ids.count - 1
        return Ability("users", True, "one per app", f"Apps run as users {ids.first} to {last}.")
    return Ability(
        "users",
        False,
        "shared",
        f"The node runs as user {os.geteuid()} and cannot change it.",
        "All apps run as the node's own user; Landlock and namespaces alone part them.",
    )


def _landlock() -> Ability:
    version = landlock.abi()
    level = f"ABI {version}" if version else "none"
    if version >= landlock.SIGNALS_SCOPED_SINCE:
        return Ability("landlock", True, level, "Files, TCP ports, signals, abstract sockets.")
    if version:
        return Ability(
            "landlock",
            True,
            level,
            "Files" + (" and TCP ports." if version >= 4 else "."),
            "Linux 6.12 or later also parts signals; until then functions can signal only "
            "themselves, and engines of one user can signal each other."
            + (_TRUNCATION if version < landlock.TRUNCATION_HELD_SINCE else ""),
        )
    return Ability(
        "landlock",
        False,
        level,
        "The kernel has no Landlock, or it is switched off.",
        "Only file permissions part apps; without a user per app they can read each other.",
    )


def _seccomp() -> Ability:
    if seccomp.supported():
        return Ability("seccomp", True, os.uname().machine, "System calls are filtered.")
    return Ability(
        "seccomp",
        False,
        "none",
        f"No filter for {sys.platform} on {os.uname().machine}.",
        "Code of users can try every system call of the kernel.",
    )


def _cgroups() -> Ability:
    groups = cgroup.detect()
    if not groups.version:
        return Ability(
            "cgroups",
            False,
            "none",
            "No control group can be written.",
            "Memory is bounded for each process, not for a cell; CPU is not bounded, and use is "
            "measured when processes end.",
        )
    missing = {"memory", "pids", "cpu"} - set(groups.controllers)
    return Ability(
        "cgroups",
        not missing,
        f"v{groups.version}",
        f"Controllers: {', '.join(groups.controllers)}.",
        f"Not bounded for a cell as a whole: {', '.join(sorted(missing))}." if missing else "",
    )


def _namespaces() -> Ability:
    if _child_can(lambda: namespaces.hide((), ())):
        kind = "mount" if os.geteuid() == 0 else "user and mount"
        return Ability("namespaces", True, kind, "Directories can be taken out of sight.")
    return Ability(
        "namespaces",
        False,
        "none",
        "New namespaces are refused.",
        "Unix sockets of the node stay visible to apps that run as its user; tokens guard them."
        if os.geteuid()
        else "Programs below directories that only root can enter cannot be used by cells.",
    )


def _child_can(attempt: Callable[[], None]) -> bool:
    """Try something in a child, so that it leaves no mark on this process."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            attempt()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0
