"""Skerry: a whole cloud on machines that you own."""

__version__ = "0.1.0"
