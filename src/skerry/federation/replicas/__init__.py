"""Apps on several nodes: one serves, by a lease; the others stand by, and one takes over."""
