"""Detectors without RoI heads: what mmdet's lack, and their tests in several views."""
