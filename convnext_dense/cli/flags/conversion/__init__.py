"""Flags of the commands that convert files."""
