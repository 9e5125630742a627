"""Readers, a module for each format: ``fits(path)``, ``own_splits(path)``, ``read(request)``."""
