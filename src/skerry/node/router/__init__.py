"""The node's HTTP front door: it finds the target of a request, wakes it, and tunnels bytes."""
