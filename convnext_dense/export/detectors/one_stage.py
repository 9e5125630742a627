"""RTMDet as one function of tensors, for an exporter.

The layers are the model's own. mmdet collects candidates of each image in lists; here every place
of every level is a row, and rows that are no candidates have a score of -1.
"""

import torch
from mmdet.models import RTMDet
from mmdet.models.dense_heads import RTMDetSepBNHead
from torch import Tensor, nn

from convnext_dense.errors import UserError
from convnext_dense.export.detector import (
    Detections,
    choose_detections,
    with_rows,
    without_empty_rows,
)
from convnext_dense.export.operators import SUPPRESSED


class ExportedOneStage(nn.Module):
    """mmdet's RTMDet, from pixels to boxes.

    Args:
        model: The built model, which :func:`check_one_stage` lets pass.

    Attributes:
        trim: Leave out the rows that are empty in all images of a batch.
    """

    trim = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone, self.neck, self.head = model.backbone, model.neck, model.bbox_head
        self.settings = model.test_cfg
        normalise = model.data_preprocessor
        self.register_buffer("mean", normalise.mean, persistent=False)
        self.register_buffer("std", normalise.std, persistent=False)

    def forward(self, pixels: Tensor, sizes: Tensor) -> Detections:
        """Detects; arguments and results are those of ``ExportedDetector``, without masks."""
        features = self.neck(self.backbone((pixels - self.mean) / self.std))
        boxes, classes = [], []
        levels = zip(*self.head(features), self.head.prior_generator.strides, strict=True)
        for logits, distances, (stride, _) in levels:
            scores = logits.sigmoid().flatten(2).transpose(1, 2)  # (B, places, classes)
            classes.append(_best_of_level(scores, self.settings.get("nms_pre", -1)))
            boxes.append(_boxes_of_level(distances, stride))
        boxes = _clip(torch.cat(boxes, 1), sizes)
        classes = torch.cat(classes, 1)
        if self.settings.get("min_bbox_size", -1) >= 0:
            large = (boxes[..., 2:] > boxes[..., :2]).all(-1, keepdim=True)
            classes = torch.where(large, classes, SUPPRESSED)
        boxes, scores, labels = choose_detections(boxes[:, :, None], classes, self.settings)
        if self.trim:
            boxes, scores, labels = without_empty_rows(boxes, scores, labels)
        return Detections(boxes, scores, labels, None)


def _best_of_level(scores: Tensor, most: int) -> Tensor:
    """Keeps the ``most`` highest scores of a level (B, places, classes), of all if negative."""
    if most < 0:
        return scores
    best = with_rows(scores.flatten(1), most).topk(most, dim=1).values
    return torch.where(scores >= best[:, -1, None, None], scores, SUPPRESSED)


def _boxes_of_level(distances: Tensor, stride: int) -> Tensor:
    """Boxes (B, places, 4) from the distances (B, 4, H, W) of their edges to each place."""
    height, width = distances.shape[2:]
    y = torch.arange(height, dtype=distances.dtype)[:, None].expand(-1, width) * stride
    x = torch.arange(width, dtype=distances.dtype)[None].expand(height, -1) * stride
    left, top, right, bottom = distances.unbind(1)
    return torch.stack([x - left, y - top, x + right, y + bottom], -1).flatten(1, 2)


def _clip(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Boxes (B, n, 4) inside of their images of (height, width)."""
    limits = sizes.flip(-1)[:, None].repeat(1, 1, 2)
    return torch.minimum(boxes.clamp(min=0), limits)


def check_one_stage(model: nn.Module) -> None:
    """Refuses detectors without RoI heads that :class:`ExportedOneStage` does not compute.

    Raises:
        UserError: Names the part.
    """
    name = type(model).__name__
    if type(model) is not RTMDet or type(model.bbox_head) is not RTMDetSepBNHead:
        head = getattr(model, "bbox_head", None)
        named = f" with {type(head).__name__}" if type(model) is RTMDet else ""
        raise UserError(
            f"{name}{named} cannot be exported yet: of the detectors, Faster, Mask and Cascade "
            "(Mask) R-CNN and RTMDet without masks can; --part backbone exports the backbone of "
            "any model."
        )
    head, settings = model.bbox_head, model.test_cfg
    refused = {
        f"model.test_cfg.nms.type={settings.nms.get('type')}": settings.nms.get("type") != "nms",
        f"model.test_cfg.min_bbox_size={settings.get('min_bbox_size')}": (
            settings.get("min_bbox_size", -1) > 0
        ),
        f"the anchor offset {head.prior_generator.offset}": head.prior_generator.offset != 0,
        f"the box coder {type(head.bbox_coder).__name__}": (
            type(head.bbox_coder).__name__ != "DistancePointBBoxCoder"
        ),
    }
    if found := [what for what, wrong in refused.items() if wrong]:
        raise UserError(
            f"{name} cannot be exported with {found[0]}: only plain nms, boxes of any size and "
            "distances from points without an offset can."
        )
