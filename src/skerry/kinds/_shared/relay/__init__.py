"""Passing the bytes of a client on to another node, whatever they mean."""
