"""A kind that sends what it is asked to, and asks the policy first, late, or never."""
