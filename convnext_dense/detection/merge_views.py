"""Merging the detections of several views of an image, and moving boxes between view and image.

All of it is on the CPU and in float64: a float32 box of a view that is moved to the image and back
is the same box, bit by bit.
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
    """Detections of one view or image: boxes (n, 4) in float64, scores (n,), labels (n,)."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def to_image(boxes: Tensor, scale_factor: tuple[float, float], width: int, flip: bool) -> Tensor:
    """Moves boxes from a view to the pixels of its image.

    Args:
        boxes: (n, 4), in pixels of the view.
        scale_factor: Size of the view divided by that of the image, (horizontal, vertical).
        width: Width of the image.
        flip: Whether the view is mirrored.

    Returns:
        (n, 4) in float64.
    """
    boxes = boxes.double() / _factors(boxes, scale_factor)
    return flip_boxes(boxes, width) if flip else boxes


def to_view(boxes: Tensor, scale_factor: tuple[float, float], width: int, flip: bool) -> Tensor:
    """Inverse of :func:`to_image`; returns (n, 4) in float32."""
    boxes = flip_boxes(boxes, width) if flip else boxes
    return (boxes * _factors(boxes, scale_factor)).float()


def flip_boxes(boxes: Tensor, width: int) -> Tensor:
    """Boxes in the horizontally flipped image of this width."""
    left, top, right, bottom = boxes.unbind(1)
    return torch.stack([width - right, top, width - left, bottom], dim=1)


def _factors(boxes: Tensor, scale_factor: tuple[float, float]) -> Tensor:
    # mmdet divides by the factor rounded to float32.
    return torch.tensor(scale_factor, dtype=torch.float32).to(boxes.device).double().repeat(2)


class Merger:
    """Merges the detections of all views: score threshold, NMS for each class, limit.

    Detections are first sorted by score, label and box, so their order does not matter. Detections
    of a single view are not changed: the model has applied NMS already, and a second soft NMS
    would lower their scores again.

    Args:
        score_thr: Detections with this score or less are dropped.
        nms: ``type`` (``nms`` or ``soft_nms``) and the arguments of mmcv's operator.
        max_per_img: Number of best detections to keep.

    Raises:
        UserError: For an unknown operator or arguments that it does not take.
    """

    def __init__(self, score_thr: float, nms: dict[str, Any], max_per_img: int) -> None:
        self.score_thr = score_thr
        self.max_per_img = max_per_img
        self.arguments = dict(nms)
        name = self.arguments.pop("type", None)
        if name not in OPERATORS:
            raise UserError(
                f"tta_views.merge.nms.type must be one of {', '.join(OPERATORS)}, got {name!r}."
            )
        self.operator = OPERATORS[name]
        try:
            self.operator(torch.tensor([[0.0, 0, 1, 1]]), torch.ones(1), **self.arguments)
        except (TypeError, AssertionError, KeyError) as error:
            raise UserError(f"tta_views.merge.nms does not fit {name}: {error}") from error

    def __call__(self, per_view: Sequence[Detections]) -> Detections:
        """Merges the detections of one image's views, all in pixels of the image."""
        return self.with_places(per_view)[0]

    def with_places(self, per_view: Sequence[Detections]) -> tuple[Detections, Tensor]:
        """The same, and the place (n,) of each detection among those of all views, in order."""
        places = torch.arange(sum(len(found.scores) for found in per_view))
        if len(per_view) == 1:
            return per_view[0], places
        merged = self._merge(_Placed(*map(torch.cat, zip(*per_view, strict=True)), places))
        return Detections(*merged[:-1]), merged.places

    def _merge(self, all_views: "_Placed") -> "_Placed":
        merged = _sort(all_views)
        merged = _select(merged, merged.scores > self.score_thr)
        per_class = [
            self._suppress(_select(merged, merged.labels == label))
            for label in merged.labels.unique()
        ]
        if not per_class:
            return merged
        best = _sort(_Placed(*map(torch.cat, zip(*per_class, strict=True))))
        return _select(best, slice(self.max_per_img))

    def _suppress(self, of_class: "_Placed") -> "_Placed":
        rows, indices = self.operator(of_class.boxes.float(), of_class.scores, **self.arguments)
        # Keep our float64 boxes, but take the operator's scores: soft NMS lowers them.
        return _select(of_class, indices)._replace(scores=rows[:, 4])


class _Placed(NamedTuple):
    """:class:`Detections` of all views, and where each stood among them (n,)."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    places: Tensor


def _select(detections: _Placed, indices: Tensor | slice) -> _Placed:
    return _Placed(*(values[indices] for values in detections))


def _sort(detections: _Placed) -> _Placed:
    """Best score first; equal scores by label, then by the box's edges."""
    boxes, scores, labels, _ = (values.numpy() for values in detections)
    order = np.lexsort((*boxes.T[::-1], labels, -scores))
    return _select(detections, torch.from_numpy(order))
