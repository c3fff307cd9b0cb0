"""Amazon Braket, with the few calls of S3 and STS that its SDK makes for results."""
