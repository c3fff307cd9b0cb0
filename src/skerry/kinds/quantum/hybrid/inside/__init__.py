"""What runs in the sandbox of a hybrid job, and nowhere else: `python <this folder>`."""
