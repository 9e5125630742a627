"""What mmdet lacks for this project: importing this package registers it."""

from convnext_dense.detection.coco_metric import CocoInstanceMetric

__all__ = ["CocoInstanceMetric"]
