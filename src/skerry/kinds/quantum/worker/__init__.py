"""The worker: a process that has quantum libraries and speaks JSON over its pipes.

It runs in whatever environment holds its stack, where Skerry itself is not installed, so these
modules import one another, the standard library and the stack's libraries, and nothing else.
"""
