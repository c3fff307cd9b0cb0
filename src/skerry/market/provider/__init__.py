"""The provider's side of a market: what it has, what it asks, and what it runs."""
