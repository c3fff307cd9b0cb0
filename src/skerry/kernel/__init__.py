"""Words and rules, no input or output: what every layer above agrees on."""
