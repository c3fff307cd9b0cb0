"""The words of the command line, and what each of them runs.

A word runs a command of the node (`command`) or a click command of its own (`runs`, a dotted name).
The words of kinds are not here: they are read from the manifest of the kind that is addressed.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A word.

    `positional` names parameters that are arguments here; `confirm` is asked before something is
    lost; `empty` says what an empty list means and what to run next.
    """

    summary: str
    command: str = ""
    runs: str = ""
    positional: tuple[str, ...] = ()
    confirm: str = ""
    empty: str = ""


WORDS = {
    "up": Entry("Run the node on this machine", runs="skerry.surfaces.cli.up:up"),
    "init": Entry("Write a new app from a template", runs="skerry.surfaces.cli.init:init"),
    "dev": Entry(
        "Serve this folder on a branch, again at every save", runs="skerry.surfaces.cli.dev:dev"
    ),
    "deploy": Entry("Serve this folder as a new version", runs="skerry.surfaces.cli.deploy:deploy"),
    "rollback": Entry("Serve an earlier version again", "app.rollback", positional=("version",)),
    "open": Entry("Open the console in a browser", runs="skerry.surfaces.cli.console:open_console"),
    "login": Entry(
        "Log in to a node by its identity provider", runs="skerry.surfaces.cli.login:login"
    ),
    "logout": Entry("End such a log-in", runs="skerry.surfaces.cli.login:logout"),
    "status": Entry("Show what is awake, since when, and its cost", "node.status"),
    "logs": Entry(
        "Show what functions and engines said",
        "node.logs",
        positional=("source",),
        empty="No lines yet.",
    ),
    "meter": Entry(
        "Show what each resource used", "node.meter", empty="Nothing was used yet. Idle is 0."
    ),
    "doctor": Entry("Check this machine and this node", "node.doctor"),
    "stop": Entry("Stop the node", runs="skerry.surfaces.cli.stop:stop"),
    "branch create": Entry("Copy a whole environment", "branch.create"),
    "branch list": Entry(
        "List the branches of an app",
        "branch.list",
        positional=("app",),
        empty="There is no branch. Run `skerry deploy`.",
    ),
    "branch checkout": Entry(
        "Choose the branch that commands here mean", runs="skerry.surfaces.cli.checkout:checkout"
    ),
    "branch reset": Entry(
        "Copy the parent again, over a branch",
        "branch.reset",
        confirm="This replaces all state of branch {name} by its parent's.",
    ),
    "branch promote": Entry(
        "Make a branch's state main's",
        "branch.promote",
        confirm="This makes branch {name} main; what main is now is kept as a branch.",
    ),
    "branch delete": Entry(
        "Delete a branch",
        "branch.delete",
        confirm="This deletes branch {name} with all its state.",
    ),
    "sleep": Entry("Put a branch to sleep now", "branch.sleep", positional=("branch",)),
    "wake": Entry("Wake a branch now", "branch.wake", positional=("branch",)),
    "app list": Entry(
        "List the apps", "app.list", empty="No apps yet. Run `skerry init myapp` to make one."
    ),
    "app delete": Entry(
        "Delete an app with all its branches",
        "app.delete",
        positional=("app",),
        confirm="This deletes {app} with all its branches and all their state.",
    ),
    "resource list": Entry(
        "List the resources of a branch",
        "resource.list",
        empty="No resources yet. Declare some in skerry.toml.",
    ),
    "connect": Entry("Print lines for official clients", "resource.connect"),
    "export": Entry("Save state in standard formats", runs="skerry.surfaces.cli.transfer:export"),
    "import": Entry("Load what was exported", runs="skerry.surfaces.cli.transfer:import_"),
    "secret set": Entry("Set a secret of an app", runs="skerry.surfaces.cli.secrets:set_secret"),
    "secret list": Entry(
        "List the names of an app's secrets",
        "secret.list",
        empty="No secrets yet. Run `skerry secret set NAME`.",
    ),
    "secret delete": Entry("Delete a secret", "secret.delete"),
    "volume create": Entry(
        "Make a volume that can clone", runs="skerry.surfaces.cli.local:volume_create"
    ),
    "volume attach": Entry("Mount a volume", runs="skerry.surfaces.cli.local:volume_attach"),
    "volume detach": Entry("Unmount a volume", runs="skerry.surfaces.cli.local:volume_detach"),
    "kind new": Entry("Start a kind from the template", runs="skerry.surfaces.cli.local:kind_new"),
    "describe": Entry(
        "Describe every command and kind", runs="skerry.surfaces.cli.describe:describe"
    ),
    "docs": Entry("Read the documentation", runs="skerry.surfaces.cli.docs:docs"),
    "completion": Entry(
        "Print a script for your shell", runs="skerry.surfaces.cli.completion:completion"
    ),
}

GROUPS = {
    "branch": "Copy whole environments, and choose one",
    "app": "List and delete apps",
    "resource": "List resources",
    "secret": "Keep secrets for functions",
    "volume": "Where branches live, as root",
    "kind": "Add a kind of resource",
}

PANELS = {
    "Start": ("up", "init", "deploy", "dev", "open"),
    "Environments": ("branch", "sleep", "wake", "rollback", "app", "resource", "secret"),
    "Look": ("status", "logs", "meter", "doctor"),
    "Data": ("connect", "export", "import", "restore"),
    "Many machines": ("node", "nodes", "place", "residency"),
    "This one, and tools": (
        "stop",
        "login",
        "logout",
        "volume",
        "kind",
        "describe",
        "docs",
        "completion",
    ),
}

OF_SERVICES = {
    "restore": "Bring back a past state from a backup",
    "node": "Bind this node to those of others",
    "nodes": "Show every node, and what it holds",
    "place": "Move an app to another node, or keep standbys",
    "residency": "Show how it is known where a node is",
}
"""Words that services declare, as the help tells them without importing a service."""
