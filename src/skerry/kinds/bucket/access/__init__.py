"""Who may do what: access control lists, bucket policies, and the decision."""
