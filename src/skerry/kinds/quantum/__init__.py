"""Kind `quantum`: one catalogue, one queue and dated twins of quantum computers of all vendors."""
