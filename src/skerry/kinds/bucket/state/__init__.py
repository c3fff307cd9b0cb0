"""The state of a bucket resource on disk: what is in the database, what is in files."""
