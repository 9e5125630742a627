"""The detections of one image, as every part of the inference hands them on."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Instances:
    """Detections of one image.

    Attributes:
        boxes: float32 (n, 4): left, top, right, bottom in pixels of the image.
        scores: float32 (n,).
        labels: int64 (n,), indices of classes.
        masks: COCO's run-length encoding of each mask, ``{"size": [height, width], "counts": ...}``
            in the image's size; None where the model has no masks.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: list[dict] | None

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, chosen: np.ndarray) -> "Instances":
        """Those that an array of indices or bools (n,) names, in its order."""
        (rows,) = np.nonzero(chosen) if chosen.dtype == bool else (chosen,)
        masks = None if self.masks is None else [self.masks[row] for row in rows]
        return Instances(self.boxes[rows], self.scores[rows], self.labels[rows], masks)


def concatenate(found: list[Instances]) -> Instances:
    """All detections of several lists of them, at least one."""
    columns = [
        np.concatenate([getattr(some, name) for some in found])
        for name in ("boxes", "scores", "labels")
    ]
    with_masks = all(some.masks is not None for some in found)
    masks = [mask for some in found for mask in some.masks] if with_masks else None
    return Instances(*columns, masks)
