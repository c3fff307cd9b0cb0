"""Kind `kv`: values by key, with metadata and expiry, as Workers KV offers them."""
