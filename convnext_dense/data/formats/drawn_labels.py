"""Objects drawn into a label image: the background is label 0."""

from collections.abc import Mapping, Sequence

import numpy as np

from convnext_dense.data.formats.geometry import segmentation_mask

BACKGROUND = "background"
IGNORED = 255  # the label of crowds: some of their pixels are no object's


def draw_labels(objects: Sequence[tuple[Mapping, int]], size: tuple[int, int]) -> np.ndarray:
    """The label image (height, width), uint8, of objects.

    Where objects overlap, the smaller one is on top; crowds are below all others.

    Args:
        objects: Annotations in COCO's form that have a mask, each with its label.
        size: Width and height of the image.
    """
    drawn = [
        (segmentation_mask(entry["segmentation"], size) > 0, bool(entry.get("iscrowd")), label)
        for entry, label in objects
    ]
    drawn.sort(key=lambda one: (not one[1], -int(one[0].sum())))
    labels = np.zeros(size[::-1], np.uint8)
    for mask, is_crowd, label in drawn:
        labels[mask] = IGNORED if is_crowd else label
    return labels
