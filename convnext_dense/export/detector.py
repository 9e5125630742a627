"""A two-stage detector of mmdet as one function of tensors, for an exporter.

The layers are the model's own. What mmdet does image by image with lists in between is done here on
padded tensors: proposals and detections have a fixed number of rows, and rows beyond an image's own
have a score of -1.
"""

from typing import Any, NamedTuple

import torch
from mmdet.models.necks import FPN
from mmdet.models.roi_heads import CascadeRoIHead
from torch import Tensor, nn

from convnext_dense.export.operators import SUPPRESSED, choose_best, pool_regions, suppress


class Detections(NamedTuple):
    """Detections of a batch, the highest score first.

    Attributes:
        boxes: (B, n, 4) in pixels of the network's input.
        scores: (B, n); below 0 for rows that are no detection.
        labels: (B, n), int64.
        masks: (B, n, side, side), probabilities inside of the box; None without mask branch.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor | None


class ExportedDetector(nn.Module):
    """mmdet's Faster, Mask and Cascade (Mask) R-CNN, from pixels to detections.

    Args:
        model: The built model.

    Attributes:
        trim: Leave out the rows that are empty in all images of a batch: heads then cost what the
            objects cost. Without it all sizes follow from the input's.
    """

    trim = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        roi = model.roi_head
        self.backbone, self.neck, self.rpn = model.backbone, model.neck, model.rpn_head
        # mmdet takes every second position by a pooling, of which torch.export keeps the parity.
        self.halved = 0
        if isinstance(self.neck, FPN) and not self.neck.add_extra_convs:
            self.halved = self.neck.num_outs - len(self.neck.lateral_convs)
            self.neck.num_outs -= self.halved
        cascade = isinstance(roi, CascadeRoIHead)
        self.box_heads = nn.ModuleList(roi.bbox_head if cascade else [roi.bbox_head])
        self.box_pools = roi.bbox_roi_extractor if cascade else [roi.bbox_roi_extractor]
        self.mask_heads = nn.ModuleList()
        if roi.with_mask:
            self.mask_heads.extend(roi.mask_head if cascade else [roi.mask_head])
            self.mask_pools = roi.mask_roi_extractor if cascade else [roi.mask_roi_extractor]
        self.settings, self.proposals = roi.test_cfg, self.rpn.test_cfg
        normalise = model.data_preprocessor
        self.register_buffer("mean", normalise.mean, persistent=False)
        self.register_buffer("std", normalise.std, persistent=False)

    def forward(self, pixels: Tensor, sizes: Tensor) -> Detections:
        """Detects.

        Args:
            pixels: (B, C, H, W), RGB from 0 to 255, padded on the right and below with the mean.
            sizes: (B, 2), float32: height and width of each image without padding.
        """
        features = self._pyramid(pixels)
        proposals, scores = self._propose(features, sizes)
        if self.trim:
            proposals, scores = without_empty_rows(proposals, scores)
        boxes, classes = self._classify(features, proposals, scores, sizes)
        boxes, scores, labels = choose_detections(boxes, classes, self.settings)
        if self.trim:
            boxes, scores, labels = without_empty_rows(boxes, scores, labels)
        masks = self._masks(features, boxes, labels) if len(self.mask_heads) else None
        return Detections(boxes, scores, labels, masks)

    def _pyramid(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The feature maps of all levels."""
        features = self.neck(self.backbone((pixels - self.mean) / self.std))
        for _ in range(self.halved):
            features = *features, _every_second(features[-1])
        return features

    def _propose(self, features: tuple[Tensor, ...], sizes: Tensor) -> tuple[Tensor, Tensor]:
        """The proposals of a batch: boxes (B, P, 4) and scores (B, P), -1 for empty rows."""
        settings, batch = self.proposals, features[0].shape[0]
        boxes, scores = [], []
        for level, feature in enumerate(features):
            logits, deltas = self.rpn.forward_single(feature)
            of_level = logits.permute(0, 2, 3, 1).reshape(batch, -1).sigmoid()
            deltas = deltas.permute(0, 2, 3, 1).reshape(batch, -1, 4)
            anchors = self._anchors(level, feature)[None].expand(batch, -1, -1)
            # A small level has fewer anchors than are chosen: empty rows fill it up.
            of_level = with_rows(of_level, settings.nms_pre)
            chosen = choose_best(of_level, settings.nms_pre)
            scores.append(of_level.gather(1, chosen))
            places = chosen[..., None].expand(-1, -1, 4)
            deltas = with_rows(deltas, settings.nms_pre, 0.0).gather(1, places)
            anchors = with_rows(anchors, settings.nms_pre, 0.0).gather(1, places)
            boxes.append(_decode(self.rpn.bbox_coder, anchors, deltas, sizes))
        groups = torch.stack(boxes, 1), torch.stack(scores, 1)
        if settings.get("min_bbox_size", -1) >= 0:
            extent = groups[0][..., 2:] - groups[0][..., :2]
            large = (extent > settings.min_bbox_size).all(-1)
            groups = groups[0], torch.where(large, groups[1], SUPPRESSED)
        kept = suppress(
            groups[0].flatten(0, 1), groups[1].flatten(0, 1), settings.nms.iou_threshold, -0.5
        )
        kept, found = kept.reshape(batch, -1), groups[0].reshape(batch, -1, 4)
        chosen = choose_best(kept, min(settings.max_per_img, len(features) * settings.nms_pre))
        best, places = kept.gather(1, chosen).sort(dim=1, descending=True)
        places = chosen.gather(1, places)
        return found.gather(1, places[..., None].expand(-1, -1, 4)), best

    def _anchors(self, level: int, feature: Tensor) -> Tensor:
        """All anchors of a level (n, 4), in the order of mmdet."""
        generator = self.rpn.prior_generator
        base, (width, height) = generator.base_anchors[level], generator.strides[level]
        rows = torch.arange(feature.shape[2], dtype=base.dtype) * height
        columns = torch.arange(feature.shape[3], dtype=base.dtype) * width
        y, x = (
            rows[:, None].expand(-1, feature.shape[3]),
            columns[None].expand(feature.shape[2], -1),
        )
        shifts = torch.stack([x, y, x, y], -1)
        return (shifts[:, :, None] + base).reshape(-1, 4)

    def _classify(
        self, features: tuple[Tensor, ...], boxes: Tensor, scores: Tensor, sizes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The boxes of each class (B, P, K or 1, 4), and their probabilities (B, P, K)."""
        logits = []
        for stage, (head, pool) in enumerate(zip(self.box_heads, self.box_pools, strict=True)):
            of_stage, deltas = head(_pool(pool, features, boxes))
            shape = boxes.shape[:2]
            deltas = deltas.reshape(*shape, -1, 4)
            logits.append(of_stage.reshape(*shape, -1))
            if stage < len(self.box_heads) - 1:
                boxes = _refine(head, boxes, logits[-1], deltas, sizes)
        classes = (sum(logits) / len(logits)).softmax(-1)[..., :-1]
        boxes = _decode(head.bbox_coder, boxes[:, :, None], deltas, sizes)
        return boxes, torch.where(scores[..., None] < 0, SUPPRESSED, classes)

    def _masks(self, features: tuple[Tensor, ...], boxes: Tensor, labels: Tensor) -> Tensor:
        """The mask of each box's class (B, D, side, side), averaged over a cascade's stages."""
        stages = []
        for head, pool in zip(self.mask_heads, self.mask_pools, strict=True):
            logits = head(_pool(pool, features, boxes))
            if logits.shape[1] > 1:
                chosen = labels.reshape(-1, 1, 1, 1).expand(-1, -1, *logits.shape[2:])
                logits = logits.gather(1, chosen)
            stages.append(logits.sigmoid())
        masks = stages[0] if len(stages) == 1 else torch.stack(stages).mean(0)
        return masks.reshape(*boxes.shape[:2], *masks.shape[2:])


def choose_detections(
    boxes: Tensor, classes: Tensor, settings: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """The best boxes of all classes after suppression, with scores and labels.

    Args:
        boxes: (B, P, K or 1, 4), of each class.
        classes: (B, P, K), scores of the classes.
        settings: ``nms``, ``score_thr`` and ``max_per_img`` (D) of the test.

    Returns:
        (B, D, 4), (B, D) and (B, D).
    """
    batch, rows, count = classes.shape
    boxes = boxes.expand(-1, -1, count, -1).transpose(1, 2)  # (B, K, P, 4)
    kept = suppress(
        boxes.reshape(-1, rows, 4),
        classes.transpose(1, 2).reshape(-1, rows),
        settings.nms.iou_threshold,
        settings.score_thr,
    ).reshape(batch, count, rows)
    # Empty rows, so that a few proposals are enough.
    flat = with_rows(kept.reshape(batch, -1), settings.max_per_img)
    scores, places = flat.topk(settings.max_per_img, dim=1)
    found = with_rows(boxes.reshape(batch, -1, 4), settings.max_per_img, 0.0)
    labels = torch.arange(count)[:, None].expand(-1, rows).reshape(1, -1).expand(batch, -1)
    labels = with_rows(labels, settings.max_per_img, 0)
    boxes = found.gather(1, places[..., None].expand(-1, -1, 4))
    return boxes, scores, labels.gather(1, places)


def _every_second(feature: Tensor) -> Tensor:
    """Every second row and column. A slice's memory would be a condition on the input's size."""
    rows, columns = (torch.arange(0, length, 2) for length in feature.shape[2:])
    return feature.index_select(2, rows).index_select(3, columns)


def _pool(extractor: Any, features: tuple[Tensor, ...], boxes: Tensor) -> Tensor:
    """RoI features (B x P, C, side, side) of boxes (B, P, 4)."""
    batch, rows = boxes.shape[:2]
    images = torch.arange(batch, dtype=boxes.dtype)[:, None, None].expand(-1, rows, -1)
    regions = torch.cat([images, boxes], -1).reshape(-1, 5)
    layer = extractor.roi_layers[0]
    return pool_regions(
        list(features[: extractor.num_inputs]),
        regions,
        layer.output_size[0],
        list(extractor.featmap_strides),
        layer.sampling_ratio,
        extractor.finest_scale,
    )


def _refine(
    head: nn.Module, boxes: Tensor, logits: Tensor, deltas: Tensor, sizes: Tensor
) -> Tensor:
    """The boxes that a stage of a cascade hands on, by the deltas of its most probable class."""
    if not head.reg_class_agnostic:
        label = logits[..., :-1].argmax(-1)[..., None, None].expand(-1, -1, -1, 4)
        deltas = deltas.gather(2, label)
    return _decode(head.bbox_coder, boxes[:, :, None], deltas, sizes)[:, :, 0]


def _decode(coder: Any, boxes: Tensor, deltas: Tensor, sizes: Tensor) -> Tensor:
    """Boxes (B, ..., 4) moved by deltas, clipped to their images: mmdet's DeltaXYWHBBoxCoder."""
    deltas = deltas * deltas.new_tensor(coder.stds) + deltas.new_tensor(coder.means)
    middle, extent = (boxes[..., :2] + boxes[..., 2:]) * 0.5, boxes[..., 2:] - boxes[..., :2]
    middle = middle + extent * deltas[..., :2]
    most = 4.135166556742356  # |log(16 / 1000)|
    half = extent * deltas[..., 2:].clamp(-most, most).exp() * 0.5
    limits = sizes.flip(-1).reshape(-1, *[1] * (boxes.dim() - 2), 2)
    low, high = (
        torch.minimum(edge.clamp(min=0), limits) for edge in (middle - half, middle + half)
    )
    return torch.cat([low, high], -1)


def with_rows(values: Tensor, count: int, fill: float = SUPPRESSED) -> Tensor:
    """Appends rows along dimension 1."""
    shape = values.shape[0], count, *values.shape[2:]
    return torch.cat([values, values.new_full(shape, fill)], 1)


def without_empty_rows(boxes: Tensor, scores: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Drops the rows that are empty in every image; one is left where all are."""
    most = (scores > SUPPRESSED).sum(1).max().clamp(min=1).item()
    torch._check(most >= 1)
    torch._check(most <= scores.shape[1])
    return tuple(values[:, :most] for values in (boxes, scores, *others))
