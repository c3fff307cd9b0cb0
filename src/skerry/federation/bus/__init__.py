"""The bus between nodes: NATS JetStream, one cluster a jurisdiction, leases and logs on it."""
