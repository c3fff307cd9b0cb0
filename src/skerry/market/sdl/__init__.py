"""Akash's Stack Definition Language, version 2 (2.0 and 2.1): read, explained, made into orders."""
