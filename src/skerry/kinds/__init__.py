"""One folder a kind; a kind imports the kernel and nothing of another kind."""
