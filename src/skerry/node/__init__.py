"""One machine: what routes, wakes, meters and decides. It runs no user code and no query."""
