"""HTTP as subjects of the conformance suite speak it."""
