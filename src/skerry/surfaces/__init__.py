"""What people and programs hold a node by: the API, the CLI and the console, all derived."""
