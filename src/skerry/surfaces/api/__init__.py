"""The HTTP API of a node, derived from its commands."""

from skerry.surfaces.api.application import Limits, make_api

__all__ = ["Limits", "make_api"]
