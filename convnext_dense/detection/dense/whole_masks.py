"""RTMDet-Ins's head with masks in exactly the size of their images."""

from typing import Any

import torch
import torch.nn.functional as F
from mmcv.ops import batched_nms
from mmdet.models.dense_heads import RTMDetInsSepBNHead
from mmdet.structures.bbox import get_box_wh, scale_boxes
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor

TOGETHER = 16  # masks that are resized at a time: probabilities take 32 times a mask's memory


@MODELS.register_module()
class WholeMasksRTMDetHead(RTMDetInsSepBNHead):
    """mmdet's head with its names and weights; masks always cover the whole image.

    mmdet resizes the padded masks by the horizontal scale vertically and the other way round, and
    cuts off what is too much. Where the two scales differ (they are rounded to whole pixels), a
    mask of a long image may lack a column or row: an image of 2000 x 331 pixels gets masks 1999
    pixels wide, which an evaluation refuses. Here the part without padding is resized to the
    image's size.

    Every parameter gets a gradient, also from images without an object: mmdet leaves out the layers
    of the kernels there, and a training in several processes would stop.
    """

    def loss_mask_by_feat(
        self,
        mask_feats: Tensor,
        flatten_kernels: Tensor,
        sampling_results_list: list[Any],
        batch_gt_instances: list[InstanceData],
    ) -> Tensor:
        """The loss of the masks; arguments and result are those of mmdet's head."""
        loss = super().loss_mask_by_feat(
            mask_feats, flatten_kernels, sampling_results_list, batch_gt_instances
        )
        if any(len(found.pos_inds) for found in sampling_results_list):
            return loss
        return loss + flatten_kernels.sum() * 0

    def _bbox_mask_post_process(
        self,
        results: InstanceData,
        mask_feat: Tensor,
        cfg: Any,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict[str, Any] | None = None,
    ) -> InstanceData:
        """Suppresses boxes of one image and adds the masks of those that are left.

        Args:
            results: ``bboxes`` (n, 4) in pixels of the network's input, ``scores``, ``labels``,
                ``priors`` (n, 4), ``kernels`` (n, parameters).
            mask_feat: (prototypes, h, w) at the stride of the first level.
            cfg: The test settings.
            rescale: Boxes and masks in pixels of the image instead of those of the input.
            with_nms: True; masks of all candidates would not fit into memory.
            img_meta: ``img_shape``, ``ori_shape`` and ``scale_factor``.

        Returns:
            The results with ``masks`` (n, height, width), bool.
        """
        if rescale:
            back = [1 / factor for factor in img_meta["scale_factor"]]
            results.bboxes = scale_boxes(results.bboxes, back)
        if cfg.get("min_bbox_size", -1) >= 0:
            width, height = get_box_wh(results.bboxes)
            results = results[(width > cfg.min_bbox_size) & (height > cfg.min_bbox_size)]
        if len(results):
            rows, kept = batched_nms(results.bboxes, results.scores, results.labels, cfg.nms)
            results = results[kept]
            results.scores = rows[:, -1]  # soft NMS lowers them
            results = results[: cfg.max_per_img]
        logits = self._mask_predict_by_feat_single(mask_feat, results.kernels, results.priors)
        seen = img_meta["img_shape"][:2]
        shown = img_meta["ori_shape"][:2] if rescale else seen
        results.masks = self._whole_masks(logits, seen, shown, cfg.mask_thr_binary)
        return results

    def _whole_masks(
        self, logits: Tensor, seen: tuple[int, int], shown: tuple[int, int], threshold: float
    ) -> Tensor:
        """Logits (n, h, w) as masks (n, height, width) of the image in the size that is shown."""
        stride = self.prior_generator.strides[0][0]
        masks = logits.new_empty((len(logits), *shown), dtype=torch.bool)
        for start in range(0, len(logits), TOGETHER):
            some = logits[None, start : start + TOGETHER]
            some = F.interpolate(some, scale_factor=stride, mode="bilinear")
            some = some[..., : seen[0], : seen[1]]  # without padding
            some = F.interpolate(some, size=tuple(shown), mode="bilinear", align_corners=False)
            masks[start : start + TOGETHER] = some[0].sigmoid() > threshold
        return masks
