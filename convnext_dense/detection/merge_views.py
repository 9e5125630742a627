"""Detections of several views: into the picture's pixels, back into a view's, and merged to one.

Everything here is on the CPU and in float64: a float32 box of a view that goes to the picture and
back is the same box again, bit by bit.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmcv.ops import nms, soft_nms
from torch import Tensor

from convnext_dense.errors import UserError

OPERATORS = {"nms": nms, "soft_nms": soft_nms}


class Detections(NamedTuple):
    """Detections of one view or picture: boxes (n, 4) in float64, scores (n,), labels (n,)."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def to_picture(boxes: Tensor, scale_factor: tuple[float, float], width: int, flip: bool) -> Tensor:
    """Boxes of a view in the pixels of its picture.

    Args:
        boxes: (n, 4), pixels of the view.
        scale_factor: View over picture, (horizontal, vertical).
        width: Width of the picture.
        flip: Whether the view is mirrored.

    Returns:
        (n, 4) in float64.
    """
    boxes = boxes.double() / _factors(boxes, scale_factor)
    return mirror(boxes, width) if flip else boxes


def to_view(boxes: Tensor, scale_factor: tuple[float, float], width: int, flip: bool) -> Tensor:
    """The way back of :func:`to_picture`; returns (n, 4) in float32."""
    boxes = mirror(boxes, width) if flip else boxes
    return (boxes * _factors(boxes, scale_factor)).float()


def mirror(boxes: Tensor, width: int) -> Tensor:
    """Boxes of a horizontally flipped picture of this width."""
    left, top, right, bottom = boxes.unbind(1)
    return torch.stack([width - right, top, width - left, bottom], dim=1)


def _factors(boxes: Tensor, scale_factor: tuple[float, float]) -> Tensor:
    # mmdet divides by the factor rounded to float32.
    return torch.tensor(scale_factor, dtype=torch.float32).to(boxes.device).double().repeat(2)


class Merger:
    """Merges the detections of all views: a score threshold, suppression class by class, a limit.

    Detections are sorted by all they consist of before anything else, so their order does not
    matter. Those of a single view are left as they are: they have been suppressed already, and
    soft suppression would lower their scores a second time.

    Args:
        score_thr: Detections with this score or less are dropped.
        nms: ``type`` (``nms`` or ``soft_nms``) and the arguments of mmcv's operator.
        max_per_img: The best so many are kept.

    Raises:
        UserError: For an unknown operator or arguments that it does not take.
    """

    def __init__(self, score_thr: float, nms: dict[str, Any], max_per_img: int) -> None:
        self.score_thr = score_thr
        self.max_per_img = max_per_img
        self.arguments = dict(nms)
        kind = self.arguments.pop("type", None)
        if kind not in OPERATORS:
            raise UserError(
                f"tta_views.merge.nms.type must be one of {', '.join(OPERATORS)}, got {kind!r}."
            )
        self.operator = OPERATORS[kind]
        try:
            self.operator(torch.tensor([[0.0, 0, 1, 1]]), torch.ones(1), **self.arguments)
        except (TypeError, AssertionError, KeyError) as error:
            raise UserError(f"tta_views.merge.nms does not fit {kind}: {error}") from error

    def __call__(self, found: Sequence[Detections]) -> Detections:
        """Merges the detections of one picture's views, all in the picture's pixels."""
        if len(found) == 1:
            return found[0]
        merged = _sorted(Detections(*map(torch.cat, zip(*found, strict=True))))
        merged = _take(merged, merged.scores > self.score_thr)
        per_class = [
            self._suppress(_take(merged, merged.labels == label))
            for label in merged.labels.unique()
        ]
        if not per_class:
            return merged
        best = _sorted(Detections(*map(torch.cat, zip(*per_class, strict=True))))
        return _take(best, slice(self.max_per_img))

    def _suppress(self, one_class: Detections) -> Detections:
        rows, kept = self.operator(one_class.boxes.float(), one_class.scores, **self.arguments)
        # The operator's boxes are rounded; soft suppression has lowered its scores.
        return _take(one_class, kept)._replace(scores=rows[:, 4])


def _take(detections: Detections, which: Tensor | slice) -> Detections:
    return Detections(*(values[which] for values in detections))


def _sorted(detections: Detections) -> Detections:
    """Best score first; equal scores by label, then by the box's edges."""
    boxes, scores, labels = (values.numpy() for values in detections)
    order = np.lexsort((*boxes.T[::-1], labels, -scores))
    return _take(detections, torch.from_numpy(order))
