"""Kind hello: the smallest whole kind, template of all others and test of the contract."""
