"""TigerBeetle's client protocol: heads, checksums, the server in the cell, the node's front."""
