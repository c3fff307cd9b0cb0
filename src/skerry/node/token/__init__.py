"""Delegated rights: tokens that their holder can narrow, and that are verified without a call."""
