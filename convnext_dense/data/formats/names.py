"""Names of the formats, for the flags: this module imports nothing."""

DETECTION_FORMATS = ("coco", "yolo", "voc", "labelme", "cvat", "labelstudio")
WRITTEN_FORMATS = ("coco", "yolo", "voc", "labels")
SPLITS = ("train", "val", "test")
