"""The labels of one image: described as shares of classes, drawn, written as a label image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convnext_dense.data.images import write_image
from convnext_dense.errors import UserError
from convnext_dense.tasks import Results

NAMES_FROM = 32  # pixels of the shorter side; mmsegmentation's visualizer fails on few pixels


class SegmentationResults(Results):
    """Results of a segmentor.

    Args:
        classes: Class names, by label.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes

    def select(self, sample: Any) -> Any:
        """Keeps the labels and drops the scores of all classes, where they are there."""
        sample.pop("seg_logits", None)
        return sample

    def draw_options(self, image: Any) -> dict[str, Any]:
        """Class names are written where there is room for them.

        Raises:
            UserError: For an image of one pixel.
        """
        if image.shape[:2] == (1, 1):
            raise UserError("An image of one pixel cannot be drawn.")
        return dict(with_labels=min(image.shape[:2]) >= NAMES_FROM)

    def describe(self, sample: Any) -> dict[str, Any]:
        """The share of the image that each class takes, the largest first."""
        labels = sample.pred_sem_seg.data.long().ravel()
        shares = (torch.bincount(labels, minlength=len(self.classes)) / labels.numel()).tolist()
        ranked = sorted(zip(shares, self.classes, strict=True), reverse=True)
        return {"shares": {name: share for share, name in ranked if share > 0}}

    def sum_up(self, descriptions: Sequence[Mapping[str, Any]]) -> str:
        """Counts the classes that were predicted."""
        return f"{len({name for image in descriptions for name in image['shares']})} classes"

    def write_files(self, sample: Any, stem: Path) -> None:
        """Writes ``STEM_labels.png``: one channel, the value of a pixel is its class index."""
        labels = sample.pred_sem_seg.data[0].numpy().astype(np.uint8)
        write_image(stem.with_name(f"{stem.name}_labels.png"), labels)
