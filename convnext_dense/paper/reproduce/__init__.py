"""The chain of commands that reproduces a row of the paper's tables."""
