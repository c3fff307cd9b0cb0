"""PostgreSQL's wire protocol, version 3: framing, errors, and SCRAM from both ends.

Source: PostgreSQL 18 documentation, chapter "Frontend/Backend Protocol"; RFC 5802 and RFC 7677.
"""
