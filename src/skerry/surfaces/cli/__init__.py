"""The command line, derived from the node's commands; every module here is imported lazily."""
