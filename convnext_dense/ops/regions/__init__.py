"""Averages over the bins of regions that are not upright grids: rotated, or with offsets."""
