"""Data that comes with the project: `shapes` draws a set for all three tasks on first use."""
