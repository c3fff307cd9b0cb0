"""The console: a node in a browser, rendered on the node, derived from commands and manifests."""

from skerry.surfaces.console.application import make_console

__all__ = ["make_console"]
