"""The compiled ledger: the rules of the kernel's plain machine over flat rows of 128 bytes.

Every function here says in numba's Python what `skerry.kernel.ledger` says in plain Python, and the
tests hold both to the same results, rows and digests on random histories. Nothing here is imported
before a ledger is busy enough for it.
"""
