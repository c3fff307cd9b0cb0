"""Azure Quantum: a workspace, its jobs and sessions, and the blobs that programs travel in."""
