"""S3 object storage: content-addressed files, with their metadata in SQLite."""
