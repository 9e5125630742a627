"""mmdet's RoI heads, with features converted once and a mask branch that needs less memory."""

from typing import Any

import torch
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor

from convnext_dense.detection.mask_scores import mask_probabilities, paste_masks
from convnext_dense.detection.roi_extractor import convert_features_once


class FeaturesConvertedOnce:
    """Mixin: all extractors of a call read one converted copy of the features."""

    def loss(
        self,
        x: tuple[Tensor, ...],
        rpn_results_list: list[InstanceData],
        batch_data_samples: list[DetDataSample],
    ) -> dict[str, Tensor]:
        """Losses of a batch, as mmdet's."""
        return super().loss(convert_features_once(self, x), rpn_results_list, batch_data_samples)

    def predict(
        self,
        x: tuple[Tensor, ...],
        rpn_results_list: list[InstanceData],
        batch_data_samples: list[DetDataSample],
        rescale: bool = False,
    ) -> list[InstanceData]:
        """Results of a batch, as mmdet's."""
        features = convert_features_once(self, x)
        return super().predict(features, rpn_results_list, batch_data_samples, rescale=rescale)


class OwnClassMasks:
    """Mixin: computes masks of each box's class only, with the same results as mmdet.

    mmdet computes the sigmoid of all classes' masks, averages them over a cascade's stages, and
    copies them once more before it selects the class: 25 MB each time for 100 boxes and 80
    classes. Here the class is selected first, so that the later steps handle 0.3 MB.
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
            batch_img_metas: Meta information of each image.
            results_list: Boxes (n, 4) in pixels of the network's input and labels of each image.
            rescale: Return boxes and masks in the original images' pixels.

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
            paste_masks(self, image_masks, results, meta, rescale=rescale)
            for image_masks, results, meta in zip(masks, results_list, batch_img_metas, strict=True)
        ]


@MODELS.register_module()
class OwnClassRoIHead(FeaturesConvertedOnce, OwnClassMasks, StandardRoIHead):
    """``StandardRoIHead`` with :class:`FeaturesConvertedOnce` and :class:`OwnClassMasks`."""


@MODELS.register_module()
class OwnClassCascadeRoIHead(FeaturesConvertedOnce, OwnClassMasks, CascadeRoIHead):
    """``CascadeRoIHead`` with :class:`FeaturesConvertedOnce` and :class:`OwnClassMasks`."""
