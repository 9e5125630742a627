"""Reading label pictures: one class index a pixel, checked where it is read."""

from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from PIL import Image

from convnext_dense.errors import UserError

IGNORED = 255  # the index of pixels that neither train nor count


@TRANSFORMS.register_module()
class LoadLabels(BaseTransform):
    """Reads ``seg_map_path`` into ``gt_seg_map``, an array (H, W) of uint8.

    mmsegmentation's LoadAnnotations with the checks it lacks: there, an index beyond the classes
    crashes the loss of a GPU or drops out of the figures without a word. ``reduce_zero_label``
    and ``label_map`` come from the dataset, as there: with the first, 0 is ignored and index n
    means class n - 1.

    Args:
        num_classes: Number of classes; the engine fills it in. Without it indices are not checked.

    Raises:
        UserError: For a label file that is missing or no picture, that has several channels or
            fractions, another size than its picture, or an index that is no class.
    """

    def __init__(self, num_classes: int | None = None) -> None:
        self.num_classes = num_classes

    def transform(self, results: dict) -> dict:
        """Adds ``gt_seg_map`` to the sample and to its ``seg_fields``."""
        path = results["seg_map_path"]
        indices = self.read(path)
        if "ori_shape" in results and indices.shape != tuple(results["ori_shape"]):
            raise UserError(
                f"{path} has {_size(indices.shape)} pixels but its picture has "
                f"{_size(results['ori_shape'])}: labels must have the size of the picture."
            )
        mapping = results["label_map"]
        known = self.num_classes if mapping is None else len(mapping)
        labels = to_labels(indices, results["reduce_zero_label"], known, path)
        if mapping is not None:  # some of the dataset's classes: the others are ignored
            table = np.full(256, IGNORED, np.uint8)
            table[list(mapping)] = list(mapping.values())
            labels = table[labels]
        results["gt_seg_map"] = labels
        results["seg_fields"].append("gt_seg_map")
        return results

    @staticmethod
    def read(path: str | Path) -> np.ndarray:
        """The indices (H, W) as the file has them: see :func:`read_indices`."""
        return read_indices(path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_classes={self.num_classes})"


def read_indices(path: str | Path) -> np.ndarray:
    """Reads a label picture (H, W) as it is; of a picture with a palette, its indices.

    Raises:
        UserError: When it is missing, no whole picture, has several channels or fractions.
    """
    try:
        with Image.open(path) as image:
            indices = np.array(image)
    except FileNotFoundError as error:
        raise UserError(f"There is no label file {path}: each picture needs one.") from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as a label picture ({error}).") from error
    if indices.ndim != 2:
        raise UserError(
            f"{path} has {indices.shape[2]} channels: a label picture has one, the class index "
            "(colours must be turned into indices; a palette may stay)."
        )
    if indices.dtype.kind == "f":
        raise UserError(
            f"{path} holds floating-point numbers: a label picture has whole ones, the class index."
        )
    return indices.astype(np.int64)


def to_labels(
    indices: np.ndarray, reduce_zero: bool, num_classes: int | None, path: str | Path
) -> np.ndarray:
    """Turns a file's indices into labels 0 to ``num_classes`` - 1 and 255 (ignored), uint8.

    Raises:
        UserError: For an index that is no class, naming the file.
    """
    labels = indices
    if reduce_zero:
        labels = np.where((indices == 0) | (indices == IGNORED), IGNORED, indices - 1)
    allowed = IGNORED if num_classes is None else num_classes
    wrong = ((labels >= allowed) & (labels != IGNORED)) | (labels < 0)
    if wrong.any():
        first = int(reduce_zero)
        one_more = not reduce_zero and indices[wrong].max() == num_classes
        hint = ", or count from 1 and ignore 0 (--reduce-zero-label)" if one_more else ""
        raise UserError(
            f"{path} holds the label {indices[wrong].max()}, but the {num_classes} classes have "
            f"the labels {first} to {allowed - 1 + first} (255: ignored): mend the file or the "
            f"class names{hint}."
        )
    return labels.astype(np.uint8)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
