"""The compute market: orders, bids, leases and their price, in Akash's words, without a chain."""
