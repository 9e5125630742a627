"""The mask branch on boxes that were merged from several views, and pasting their mean."""

import torch
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.utils import empty_instances
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor, nn


def mask_levels(roi_head: StandardRoIHead) -> int:
    """How many pyramid levels the mask branch reads."""
    extractors = roi_head.mask_roi_extractor
    if not isinstance(extractors, nn.ModuleList):
        extractors = [extractors]
    return max(extractor.num_inputs for extractor in extractors)


def mask_probabilities(
    roi_head: StandardRoIHead,
    features: tuple[Tensor, ...],
    boxes: Tensor,
    labels: Tensor,
    flip: bool,
) -> Tensor:
    """Mask probabilities of boxes in one view, of each box's own class, un-flipped.

    Args:
        roi_head: For a cascade, the stages' probabilities are averaged, as mmdet does.
        features: Pyramid of one view.
        boxes: (n, 4), pixels of the view.
        labels: (n,).
        flip: Whether the view is mirrored.

    Returns:
        (n, h, w).
    """
    rois = bbox2roi([boxes])
    if isinstance(roi_head, CascadeRoIHead):
        stages = [
            roi_head._mask_forward(stage, features, rois)["mask_preds"].sigmoid()
            for stage in range(roi_head.num_stages)
        ]
        masks = torch.stack(stages).mean(dim=0)
    else:
        masks = roi_head._mask_forward(features, rois)["mask_preds"].sigmoid()
    own = torch.zeros_like(labels) if masks.shape[1] == 1 else labels
    masks = masks[torch.arange(len(own)), own]
    return masks.flip(-1) if flip else masks


def paste(
    roi_head: StandardRoIHead, masks: Tensor | None, results: InstanceData, size: tuple[int, int]
) -> InstanceData:
    """Adds binary masks (n, height, width) of the picture to results in its pixels."""
    meta = dict(ori_shape=size, scale_factor=(1.0, 1.0))
    if masks is None:
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
        rescale=True,
        activate_map=True,
    )
    return results
