"""Telemetry in Postgres, archived every hour to a bucket of another owner, and queried there."""
