"""How markets, providers and tenants are spoken to over HTTP: Akash's dialects, and our own."""
