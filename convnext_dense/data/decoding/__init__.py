"""Decoding image files, and what becomes of those that cannot be decoded."""
