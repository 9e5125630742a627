"""Layouts that are recognised: of public datasets, of tools, and plain folders."""
