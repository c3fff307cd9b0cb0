"""Kind `functions`: web apps, plain handlers and cron jobs in Python."""
