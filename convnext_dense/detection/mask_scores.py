"""The mask branch on given boxes: probabilities of each box's own class, and their pasting.

Shared by the plain test (``roi_heads``) and by the test in several views (``tta``).
"""

from typing import Any

import torch
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.utils import empty_instances
from mmengine.structures import InstanceData
from torch import Tensor, nn


def mask_levels(roi_head: StandardRoIHead) -> int:
    """How many pyramid levels the mask branch reads."""
    extractors = roi_head.mask_roi_extractor
    if not isinstance(extractors, nn.ModuleList):
        extractors = [extractors]
    return max(extractor.num_inputs for extractor in extractors)


def mask_probabilities(
    roi_head: StandardRoIHead, features: tuple[Tensor, ...], rois: Tensor, labels: Tensor
) -> Tensor:
    """Mask probabilities of boxes, of each box's own class only.

    Sigmoid and mean see one place at a time, so mmdet gets the same by computing them for all
    classes and choosing then: to the bit, but for a CPU's sigmoid, which rounds the last values
    of a thread's share (below 32, those that fill no vector) differently, by about 1e-7.

    Args:
        roi_head: For a cascade, the stages' probabilities are averaged, as mmdet does.
        features: Pyramid of a batch.
        rois: (n, 5): picture number, then xyxy in pixels of the network's input.
        labels: (n,).

    Returns:
        (n, h, w), in the mask head's precision and on its device.
    """
    if not isinstance(roi_head, CascadeRoIHead):
        logits = roi_head._mask_forward(features, rois)["mask_preds"]
        return _own_class(logits, labels).sigmoid()
    stages = [
        _own_class(roi_head._mask_forward(stage, features, rois)["mask_preds"], labels).sigmoid()
        for stage in range(roi_head.num_stages)
    ]
    return torch.stack(stages).mean(dim=0)


def _own_class(maps: Tensor, labels: Tensor) -> Tensor:
    """From maps (n, classes or 1, h, w) the labels' ones, (n, h, w)."""
    if maps.shape[1] == 1:
        return maps[:, 0]
    return maps[torch.arange(len(labels), device=labels.device), labels]


def paste(
    roi_head: StandardRoIHead,
    masks: Tensor | None,
    results: InstanceData,
    meta: dict[str, Any],
    rescale: bool,
) -> InstanceData:
    """Adds binary masks of the whole picture to its results, by mmdet's own pasting.

    Args:
        roi_head: Its test settings have the threshold.
        masks: Probabilities (n, h, w); not looked at where there are no boxes.
        results: One picture's; its boxes are changed in place where they are rescaled.
        meta: ``ori_shape`` and ``scale_factor`` of the picture.
        rescale: Into the picture's own pixels, not the network's input's.

    Returns:
        The results with ``masks`` (n, height, width), bool; uint8 for a negative threshold.
    """
    if len(results.bboxes) == 0:
        (results,) = empty_instances(
            [meta],
            results.bboxes.device,
            task_type="mask",
            instance_results=[results],
            mask_thr_binary=roi_head.test_cfg.mask_thr_binary,
        )
        return results
    cascade = isinstance(roi_head, CascadeRoIHead)
    head = roi_head.mask_head[-1] if cascade else roi_head.mask_head
    results.masks = head._predict_by_feat_single(
        mask_preds=masks[:, None],
        bboxes=results.bboxes,
        labels=torch.zeros_like(results.labels),  # the one channel there is
        img_meta=meta,
        rcnn_test_cfg=roi_head.test_cfg,
        rescale=rescale,
        activate_map=True,
    )
    return results
