"""Testing detectors without RoI heads in several views.

Each view is tested as the plain test does it. A mask belongs to the box it came with: the masks of
a single-stage detector are made from what its box says (RTMDet-Ins: from its own convolutions), so
there is nothing to average as with Mask R-CNN, and the masks of the boxes that are left are taken.
"""

from collections.abc import Iterable

import torch
from mmdet.models.detectors import DetectionTransformer, MaskFormer, SingleStageDetector
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from pycocotools import mask as mask_api
from torch import Tensor, nn

from convnext_dense.detection.merge_views import Detections, Merger, to_image
from convnext_dense.detection.rle import encode_masks
from convnext_dense.errors import UserError

QUERIES = (DetectionTransformer, MaskFormer)


def check_dense(model: nn.Module) -> None:
    """Refuses detectors without RoI heads whose views cannot be merged.

    Raises:
        UserError: With the reason.
    """
    name = type(model).__name__
    if isinstance(model, QUERIES):
        raise UserError(
            f"--tta merges views by suppressing boxes that overlap, and {name} predicts a set in "
            "which overlapping objects stand beside each other: leave out --tta."
        )
    if not isinstance(model, SingleStageDetector) or "nms" not in (model.test_cfg or {}):
        raise UserError(
            f"--tta supports Mask R-CNN and Cascade Mask R-CNN, with or without masks, and "
            f"single-stage detectors with NMS, not {name}: leave out --tta."
        )


def predict_views(
    model: nn.Module,
    views: Iterable[tuple[Tensor, DetDataSample, bool]],
    merge: Merger,
) -> InstanceData:
    """Boxes, scores, labels and masks of one image from its views.

    Args:
        model: A detector in evaluation mode that :func:`check_dense` lets pass.
        views: The image of a view (3, height, width), its data sample, whether it is flipped.
        merge: Merges boxes.
    """
    per_view, masks, with_masks = [], [], False
    for inputs, sample, flip in views:
        data = model.data_preprocessor(dict(inputs=[inputs], data_samples=[sample]), training=False)
        (result,) = model.predict(data["inputs"], data["data_samples"], rescale=True)
        found, (height, width) = result.pred_instances, sample.ori_shape
        boxes = to_image(found.bboxes.cpu(), (1.0, 1.0), width, flip)
        per_view.append(Detections(boxes, found.scores.float().cpu(), found.labels.cpu()))
        if with_masks := "masks" in found:  # as runs: the masks of all views would fill the memory
            masks += encode_masks(found.masks.flip(-1) if flip else found.masks)
    merged, places = merge.with_places(per_view)
    device = inputs.device if not len(merged.boxes) else found.scores.device
    results = InstanceData(
        bboxes=merged.boxes.float().to(device),
        scores=merged.scores.to(device),
        labels=merged.labels.to(device),
    )
    if with_masks:
        whole = torch.zeros((len(places), height, width), dtype=torch.bool)
        for mask, place in zip(whole, places.tolist(), strict=True):
            mask.copy_(torch.from_numpy(mask_api.decode(masks[place])))
        results.masks = whole.to(device)
    return results
