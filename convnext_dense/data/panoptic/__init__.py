"""COCO panoptic data: an annotation file and a PNG of segments for each image."""
