"""mmdet's RoI heads with maps converted once, and a leaner mask branch in the test."""

from typing import Any

import torch
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor

from convnext_dense.detection.mask_scores import mask_probabilities, paste
from convnext_dense.detection.roi_extractor import converted_once


class MapsConvertedOnce:
    """Mixin: all extractors read one copy of the maps, made for this one call."""

    def loss(
        self,
        x: tuple[Tensor, ...],
        rpn_results_list: list[InstanceData],
        batch_data_samples: list[DetDataSample],
    ) -> dict[str, Tensor]:
        """mmdet's losses of a batch."""
        return super().loss(converted_once(self, x), rpn_results_list, batch_data_samples)

    def predict(
        self,
        x: tuple[Tensor, ...],
        rpn_results_list: list[InstanceData],
        batch_data_samples: list[DetDataSample],
        rescale: bool = False,
    ) -> list[InstanceData]:
        """mmdet's results of a batch."""
        maps = converted_once(self, x)
        return super().predict(maps, rpn_results_list, batch_data_samples, rescale=rescale)


class OwnClassMasks:
    """Mixin: masks of each box's own class only, with mmdet's results.

    mmdet takes the sigmoid of all classes' maps, averages all of them over a cascade's stages,
    and copies all of them once more before it chooses: of 100 boxes and 80 classes, 25 MB each
    time. Here the box's class is chosen first, and everything after it handles 0.3 MB.
    """

    def predict_mask(
        self,
        x: tuple[Tensor, ...],
        batch_img_metas: list[dict[str, Any]],
        results_list: list[InstanceData],
        rescale: bool = False,
    ) -> list[InstanceData]:
        """Adds masks to a batch's boxes.

        Args:
            x: Feature maps of all levels.
            batch_img_metas: What is known of each picture.
            results_list: Boxes (n, 4) in pixels of the network's input, and labels, of each.
            rescale: Move boxes and masks into the pictures' own pixels.

        Returns:
            The results with ``masks`` (n, height, width).
        """
        counts = [len(results) for results in results_list]
        masks = [None] * len(counts)
        if any(counts):
            rois = bbox2roi([results.bboxes for results in results_list])
            labels = torch.cat([results.labels for results in results_list])
            masks = mask_probabilities(self, x, rois, labels).split(counts)
        return [
            paste(self, *picture, rescale)
            for picture in zip(masks, results_list, batch_img_metas, strict=True)
        ]


@MODELS.register_module()
class OwnClassRoIHead(MapsConvertedOnce, OwnClassMasks, StandardRoIHead):
    """mmdet's ``StandardRoIHead`` with :class:`MapsConvertedOnce` and :class:`OwnClassMasks`."""


@MODELS.register_module()
class OwnClassCascadeRoIHead(MapsConvertedOnce, OwnClassMasks, CascadeRoIHead):
    """mmdet's ``CascadeRoIHead`` with :class:`MapsConvertedOnce` and :class:`OwnClassMasks`."""
