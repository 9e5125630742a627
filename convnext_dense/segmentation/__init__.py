"""Segmentation parts that mmsegmentation lacks: checked labels, exact mean IoU, drawn results."""
