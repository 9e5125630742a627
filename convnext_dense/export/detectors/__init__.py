"""Detectors without RoI heads as functions of tensors, and what of them can be exported."""
