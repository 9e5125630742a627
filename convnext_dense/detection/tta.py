"""Multi-scale and flip testing of boxes and instance masks (``tools/test.py --tta``).

mmdet 3 merges boxes only. Here, as in mmdet 2 and detectron2, the mask head runs on the merged
boxes in each view, and the mask probabilities are averaged before pasting. Detectors without RoI
heads: ``dense/views.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmdet.datasets.transforms import Resize
from mmdet.models.detectors import TwoStageDetector
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.utils import samplelist_boxtype2tensor
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor, nn

from convnext_dense.data.prefetch import prefetch
from convnext_dense.detection.dense.views import check_dense, predict_views
from convnext_dense.detection.feature_store import FeatureStore
from convnext_dense.detection.mask_scores import mask_levels, mask_probabilities, paste_masks
from convnext_dense.detection.merge_views import Detections, Merger, to_image, to_view
from convnext_dense.detection.roi_extractor import convert_features_once
from convnext_dense.detection.roi_heads import OwnClassCascadeRoIHead, OwnClassRoIHead
from convnext_dense.errors import UserError

MIB = 2**20


@dataclass(frozen=True, order=True)
class View:
    """A view of an image: the scale (short side, long side), and whether it is flipped."""

    scale: tuple[int, int]
    flip: bool


@TASK_UTILS.register_module()
class DetectionViews:
    """Tests Mask R-CNN, Cascade Mask R-CNN and single-stage detectors in several views.

    The views of an image are tested one by one: features, proposals, boxes with the model's test
    settings, moved to the image's pixels. Then the mask head runs on the merged boxes in each view.
    A view is flipped before it is resized, so a flipped image has bit by bit the same views as the
    image itself.

    The features of a view are computed once and stored for the mask head. Their size grows with
    the number of views (T at 18 views of 400 to 1200 pixels: 1.4 GB an image), so they are stored
    in memory up to a bound, and beyond it in a temporary file (see :class:`FeatureStore`);
    docs/test.md has the cost. The result does not depend on the bound.

    Args:
        scales: (short side, long side) of each scale in pixels; the aspect ratio is kept.
        flip: Also test the flipped image at each scale.
        merge: How detections are merged: ``score_thr``, ``nms``, ``max_per_img`` (see
            :class:`Merger`).
        resize: The test pipeline's ``Resize`` step: the single scale, and the interpolation.
        feature_memory: Memory for the features of an image, in MiB. None means 256 on a CPU, and a
            quarter of the free memory on a GPU.

    Raises:
        UserError: For scales, merge settings or a resize step that cannot be used.
    """

    def __init__(
        self,
        scales: Sequence[tuple[int, int]],
        flip: bool,
        merge: dict[str, Any],
        resize: dict[str, Any],
        feature_memory: float | None = None,
    ) -> None:
        # Sorted, so that neither the order of the scales nor a repeated one changes a sum.
        flips = (False, True) if flip else (False,)
        self.views = sorted(View(scale, f) for scale in {*map(_check_scale, scales)} for f in flips)
        if not self.views:
            raise UserError("tta_views.scales is empty: give at least one (short, long) scale.")
        try:
            self.merge = Merger(**merge)
        except TypeError as error:
            raise UserError(f"tta_views.merge: {error}.") from error
        if not resize.get("keep_ratio") or not resize.get("scale"):
            raise UserError(
                "--tta needs a Resize step with scale and keep_ratio=True in the test pipeline."
            )
        options = {key: value for key, value in resize.items() if key != "type"}
        self.single = Resize(**{**options, "scale": tuple(options["scale"])})
        self.resizes = {
            view.scale: Resize(**{**options, "scale": view.scale[::-1]}) for view in self.views
        }
        if feature_memory is not None and not feature_memory >= 0:
            raise UserError(f"tta_views.feature_memory must be 0 or more, got {feature_memory}.")
        self.feature_memory = feature_memory

    def __len__(self) -> int:
        """Number of views of an image."""
        return len(self.views)

    @property
    def facts(self) -> dict[str, bool | int]:
        """What ``metrics.json`` says about a test in several views."""
        return {"tta": True, "tta_views": len(self)}

    def check_model(self, model: nn.Module) -> None:
        """Refuses a detector that is not supported.

        Raises:
            UserError: With the reason.
        """
        check_supported(model)

    @torch.no_grad()
    def predict(self, model: nn.Module, batch: dict[str, list]) -> list[DetDataSample]:
        """Tests the images of a batch one by one.

        Args:
            model: A detector in evaluation mode.
            batch: ``inputs``: images (3, height, width) as read; ``data_samples``.

        Returns:
            The data samples with ``pred_instances`` in pixels of the original images.

        Raises:
            UserError: For a detector that is not supported.
        """
        check_supported(model)
        samples = batch["data_samples"]
        samplelist_boxtype2tensor(samples)  # as the model's preprocessor does
        for image, sample in zip(batch["inputs"], samples, strict=True):
            sample.pred_instances = self.predict_image(model, image)
        return samples

    @torch.no_grad()
    def predict_single_scale(self, model: nn.Module, batch: dict[str, list]) -> list[DetDataSample]:
        """Tests the batch as the plain test does, at the test pipeline's scale."""
        views = [make_view(image, self.single, flip=False) for image in batch["inputs"]]
        inputs, samples = zip(*views, strict=True)
        return model.test_step(dict(inputs=list(inputs), data_samples=list(samples)))

    def predict_image(self, model: nn.Module, image: Tensor) -> InstanceData:
        """Boxes, scores, labels and masks of one image (3, height, width) from all views."""
        height, width = image.shape[1:]
        device = next(model.parameters()).device

        def make(view: View) -> tuple[Tensor, DetDataSample]:
            return make_view(image, self.resizes[view.scale], view.flip)

        if not isinstance(model, TwoStageDetector):
            made = zip(self.views, prefetch(make, self.views), strict=True)
            return predict_views(model, ((*one, view.flip) for view, one in made), self.merge)
        with FeatureStore(self._feature_bytes(device)) as store:
            per_view = [
                self._detect(model, inputs, sample, view.flip, store)
                for view, (inputs, sample) in zip(
                    self.views, prefetch(make, self.views), strict=True
                )
            ]
            boxes, scores, labels = self.merge([detections for detections, _ in per_view])
            results = InstanceData(
                bboxes=boxes.float().to(device), scores=scores.to(device), labels=labels.to(device)
            )
            if not model.roi_head.with_mask:
                return results
            factors = [factor for _, factor in per_view]
            masks = self._mean_masks(model.roi_head, store, boxes, results.labels, factors, width)
        meta = dict(ori_shape=(height, width), scale_factor=(1.0, 1.0))
        return paste_masks(model.roi_head, masks, results, meta, rescale=True)

    def _mean_masks(
        self,
        roi_head: nn.Module,
        store: FeatureStore,
        boxes: Tensor,
        labels: Tensor,
        factors: Sequence[tuple[float, float]],
        width: int,
    ) -> Tensor | None:
        """Mean of the views' mask probabilities for merged boxes; None without boxes."""
        if len(boxes) == 0:
            return None
        total = None
        for number, (view, factor) in enumerate(zip(self.views, factors, strict=True)):
            rois = bbox2roi([to_view(boxes, factor, width, view.flip).to(labels.device)])
            features = convert_features_once(roi_head, store.get(number))
            masks = mask_probabilities(roi_head, features, rois, labels).double()
            masks = masks.flip(-1) if view.flip else masks
            total = masks if total is None else total + masks
            del features  # before the next view's features are read
        return (total / len(self.views)).float()

    def _feature_bytes(self, device: torch.device) -> int:
        if self.feature_memory is not None:
            return int(self.feature_memory * MIB)
        return torch.cuda.mem_get_info(device)[0] // 4 if device.type == "cuda" else 256 * MIB

    def _detect(
        self,
        model: nn.Module,
        inputs: Tensor,
        sample: DetDataSample,
        flip: bool,
        store: FeatureStore,
    ) -> tuple[Detections, tuple[float, float]]:
        """Detects in one view; returns detections in the image's pixels, and the scale factor."""
        data = model.data_preprocessor(dict(inputs=[inputs], data_samples=[sample]), training=False)
        features = model.extract_feat(data["inputs"])
        samples = data["data_samples"]
        metas = [sample.metainfo for sample in samples]
        proposals = model.rpn_head.predict(features, samples, rescale=False)
        head = model.roi_head
        # mmdet applies NMS in the image's pixels without masks, in the view's pixels with masks.
        (detections,) = head.predict_bbox(
            convert_features_once(head, features),  # not stored: that would double the memory
            metas,
            proposals,
            rcnn_test_cfg=head.test_cfg,
            rescale=not head.with_mask,
        )
        factor = metas[0]["scale_factor"]
        if head.with_mask:
            store.put(features[: mask_levels(head)])
        boxes = to_image(
            detections.bboxes.cpu(),
            factor if head.with_mask else (1.0, 1.0),
            sample.ori_shape[1],
            flip,
        )
        return Detections(boxes, detections.scores.float().cpu(), detections.labels.cpu()), factor


def _check_scale(scale: Sequence[int]) -> tuple[int, int]:
    pair = tuple(scale) if isinstance(scale, list | tuple) else ()
    if len(pair) != 2 or not all(isinstance(side, int) for side in pair) or not min(pair) > 0:
        raise UserError(f"tta_views.scales holds {scale!r}: a scale is (short, long) in pixels.")
    return min(pair), max(pair)


def check_supported(model: nn.Module) -> None:
    """Refuses detectors whose heads this module does not reproduce."""
    if not isinstance(model, TwoStageDetector):
        check_dense(model)
        return
    supported = (OwnClassRoIHead, OwnClassCascadeRoIHead, StandardRoIHead, CascadeRoIHead)
    head = model.roi_head
    if type(head) not in supported or head.with_shared_head or not model.with_rpn:
        raise UserError(
            f"--tta supports Mask R-CNN and Cascade Mask R-CNN, with or without masks, not "
            f"{type(model).__name__} with {type(head).__name__}: leave out --tta."
        )


def make_view(image: Tensor, resize: Resize, flip: bool) -> tuple[Tensor, DetDataSample]:
    """Makes a view of an image (channels, height, width), and a data sample with its sizes."""
    pixels = image.permute(1, 2, 0).numpy()
    resized = resize.transform(dict(img=np.ascontiguousarray(pixels[:, ::-1] if flip else pixels)))
    sample = DetDataSample(
        metainfo=dict(
            ori_shape=pixels.shape[:2],
            img_shape=resized["img_shape"],
            scale_factor=resized["scale_factor"],
        )
    )
    view = np.atleast_3d(resized["img"])  # OpenCV drops a single channel
    return torch.from_numpy(view).permute(2, 0, 1).contiguous(), sample
