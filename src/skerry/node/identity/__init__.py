"""Logging in by an identity provider of the operator's own (OpenID Connect)."""
