"""The site of a small local newspaper."""
