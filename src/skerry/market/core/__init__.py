"""The market's rules: folds and decisions without a clock and without I/O."""
