"""Data that comes with the project: `shapes` draws a set for all tasks on first use."""
