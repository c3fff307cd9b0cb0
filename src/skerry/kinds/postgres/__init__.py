"""Kind `postgres`: PostgreSQL that branches, sleeps and wakes."""
