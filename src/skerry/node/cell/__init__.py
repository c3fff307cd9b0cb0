"""What runs inside a cell: one process of a branch, its slots, and the servers of their wires."""
