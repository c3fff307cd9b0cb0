"""Data keys of apps: made here, wrapped by keys that are kept elsewhere, and destroyed for good."""
