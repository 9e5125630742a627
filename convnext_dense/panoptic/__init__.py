"""Panoptic segmentation: what mmdet has for it only with a package that no index carries."""
