"""Overlaps of boxes, upright and rotated, and the suppression of rotated ones."""
