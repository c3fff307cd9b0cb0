"""Kind `sqlite`: SQLite databases over the network, as Turso and D1 offer them."""
