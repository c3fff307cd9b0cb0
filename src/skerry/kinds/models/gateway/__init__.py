"""How a call finds its way: routes, limits, prices, retries, and how providers differ."""
