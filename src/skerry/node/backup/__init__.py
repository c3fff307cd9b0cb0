"""Off-site backup: one consistent cut of an environment, kept encrypted, and proven by restores."""
