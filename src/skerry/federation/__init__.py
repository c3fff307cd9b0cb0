"""Many machines: who they are, how they are bound to each other, and what they say."""
