"""The mask branch on given boxes: mask probabilities of each box's class, and mask pasting.

Used by the plain test (``roi_heads``) and by multi-scale testing (``tta``).
"""

from typing import Any

import torch
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.utils import empty_instances
from mmengine.structures import InstanceData
from torch import Tensor, nn


def mask_levels(roi_head: StandardRoIHead) -> int:
    """Number of pyramid levels that the mask branch reads."""
    extractors = roi_head.mask_roi_extractor
    if not isinstance(extractors, nn.ModuleList):
        extractors = [extractors]
    return max(extractor.num_inputs for extractor in extractors)


def mask_probabilities(
    roi_head: StandardRoIHead, features: tuple[Tensor, ...], rois: Tensor, labels: Tensor
) -> Tensor:
    """Mask probabilities of boxes, for the class of each box only.

    mmdet computes sigmoid and mean for all classes and selects the class afterwards. Both are
    elementwise, so the results are equal bit by bit, with one exception: a CPU's sigmoid rounds
    the last values of a thread's share (fewer than 32, less than a vector) differently, by about
    1e-7.

    Args:
        roi_head: For a cascade, the stages' probabilities are averaged, as mmdet does.
        features: Feature pyramid of a batch.
        rois: (n, 5): image index in the batch, then xyxy in pixels of the network's input.
        labels: (n,).

    Returns:
        (n, h, w), in the mask head's precision and on its device.
    """
    if not isinstance(roi_head, CascadeRoIHead):
        logits = roi_head._mask_forward(features, rois)["mask_preds"]
        return _select_class(logits, labels).sigmoid()
    stages = [
        _select_class(roi_head._mask_forward(stage, features, rois)["mask_preds"], labels).sigmoid()
        for stage in range(roi_head.num_stages)
    ]
    return torch.stack(stages).mean(dim=0)


def _select_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Selects each label's channel of (n, classes or 1, h, w); returns (n, h, w)."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    return logits[torch.arange(len(labels), device=labels.device), labels]


def paste_masks(
    roi_head: StandardRoIHead,
    masks: Tensor | None,
    results: InstanceData,
    meta: dict[str, Any],
    rescale: bool,
) -> InstanceData:
    """Pastes mask probabilities into masks of the whole image, by mmdet's code.

    Args:
        roi_head: RoI head with the mask threshold in its test settings.
        masks: Probabilities (n, h, w); not used when there are no boxes.
        results: Results of one image; the boxes are changed in place when they are rescaled.
        meta: ``ori_shape`` and ``scale_factor`` of the image.
        rescale: Paste into the original image's pixels instead of those of the network's input.

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
        labels=torch.zeros_like(results.labels),  # masks have a single channel
        img_meta=meta,
        rcnn_test_cfg=roi_head.test_cfg,
        rescale=rescale,
        activate_map=True,
    )
    return results
