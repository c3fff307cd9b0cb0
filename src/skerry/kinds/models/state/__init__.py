"""What a models resource keeps: keys, what they used, aliases, the log, the cache, responses."""
