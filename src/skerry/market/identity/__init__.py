"""Who speaks: keys, the addresses that follow from them, and the tokens that they sign."""
