"""Reading label images (one class index for each pixel), with checks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from convnext_dense.data.labels.label_image import (
    IGNORED,
    map_colours,
    map_values,
    read_colours,
    read_indices,
)
from convnext_dense.errors import UserError


@TRANSFORMS.register_module()
class LoadLabels(BaseTransform):
    """Reads ``seg_map_path`` into ``gt_seg_map``, an array (H, W) of uint8.

    Like mmsegmentation's LoadAnnotations, with checks: there, an index without a class crashes the
    loss on a GPU, or is silently left out of the figures. ``reduce_zero_label`` and ``label_map``
    come from the dataset, as in mmsegmentation: with ``reduce_zero_label``, 0 is ignored and
    index n means class n - 1.

    Args:
        num_classes: Number of classes; the engine fills it in. Without it, indices are not checked.
        mask_values: Pairs (value in the file, label), where the values are no indices, as in masks
            of 0 and 255 (``--mask-values``). A label of 255 is ignored.
        colours: Red, green, blue and label of each colour, where label images are coloured
            (``--palette``). A label of 255 is ignored.

    Raises:
        UserError: For a label file that is missing or is not an image, that has colours without
            ``colours``, floating-point values, another size than its image, or an index, value or
            colour without a class.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        mask_values: Sequence[Sequence[int]] | None = None,
        colours: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.num_classes = num_classes
        self.mask_values = mask_values
        self.colours = colours

    def transform(self, results: dict) -> dict:
        """Adds ``gt_seg_map`` to the sample and to its ``seg_fields``."""
        path = results["seg_map_path"]
        indices = self.read(path)
        if "ori_shape" in results and indices.shape != tuple(results["ori_shape"]):
            raise UserError(
                f"{path} has {_size(indices.shape)} pixels but its image has "
                f"{_size(results['ori_shape'])}: a label image must have the size of its image."
            )
        if self.mask_values is not None:
            indices = map_values(indices, self.mask_values, path)
        label_map = results["label_map"]
        num_classes = self.num_classes if label_map is None else len(label_map)
        labels = to_labels(indices, results["reduce_zero_label"], num_classes, path)
        if label_map is not None:  # a selection of the dataset's classes: others are ignored
            table = np.full(256, IGNORED, np.uint8)
            table[list(label_map)] = list(label_map.values())
            labels = table[labels]
        results["gt_seg_map"] = labels
        results["seg_fields"].append("gt_seg_map")
        return results

    def read(self, path: str | Path) -> np.ndarray:
        """The indices (H, W) in the file; of colours, those of their classes."""
        if self.colours is not None:
            return map_colours(read_colours(path), self.colours, path)
        return read_indices(path)

    def __repr__(self) -> str:
        mapped = "" if self.mask_values is None else f", mask_values={self.mask_values}"
        mapped += "" if self.colours is None else f", colours={self.colours}"
        return f"{type(self).__name__}(num_classes={self.num_classes}{mapped})"


def read_present_classes(dataset: Any) -> list[set[int]]:
    """The classes of each label image of a dataset, read as its pipeline reads them.

    Args:
        dataset: One whose pipeline has a :class:`LoadLabels`.
    """
    reader = next(step for step in dataset.pipeline.transforms if isinstance(step, LoadLabels))
    found = []
    for index in range(len(dataset)):
        labels = reader(dataset.get_data_info(index))["gt_seg_map"]
        found.append({int(label) for label in np.unique(labels) if label != IGNORED})
    return found


def to_labels(
    indices: np.ndarray, reduce_zero: bool, num_classes: int | None, path: str | Path
) -> np.ndarray:
    """Turns a file's indices into uint8 labels: 0 to ``num_classes`` - 1, and 255 for ignored.

    Raises:
        UserError: For an index without a class; the message names the file.
    """
    labels = indices
    if reduce_zero:
        labels = np.where((indices == 0) | (indices == IGNORED), IGNORED, indices - 1)
    allowed = IGNORED if num_classes is None else num_classes
    wrong = ((labels >= allowed) & (labels != IGNORED)) | (labels < 0)
    if wrong.any():
        first = int(reduce_zero)
        counts_from_1 = not reduce_zero and indices[wrong].max() == num_classes
        hint = ", or count from 1 and ignore 0 (--reduce-zero-label)" if counts_from_1 else ""
        values = np.unique(indices)
        if not hint and len(values) <= allowed:
            pairs = " ".join(f"{value}=NAME" for value in values)
            hint = f", or name the class of each value (--mask-values {pairs})"
        raise UserError(
            f"{path} holds the label {indices[wrong].max()}, but the {num_classes} classes have "
            f"the labels {first} to {allowed - 1 + first} (255: ignored): correct the file or "
            f"the class names{hint}."
        )
    return labels.astype(np.uint8)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
