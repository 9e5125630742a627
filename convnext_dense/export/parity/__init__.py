"""Comparing an exported model with the one it was made of."""
