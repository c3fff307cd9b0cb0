"""The audit log: who placed what where and why, what was billed and deleted, for third parties.

It is a Merkle tree (RFC 6962) in static tiles (C2SP tlog-tiles) under signed checkpoints (C2SP
tlog-checkpoint), with proofs that are checked offline (C2SP tlog-proof).
"""
