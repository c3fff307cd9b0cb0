"""Kind ledger: a double-entry ledger in TigerBeetle's model."""
