"""Multi-scale and flip testing of boxes and instance masks (``tools/test.py --tta``).

mmdet 3 merges boxes only. Here, as in mmdet 2 and detectron2, the merged boxes go back into every
view, the mask head runs on them there, and the probabilities are averaged before they are pasted.
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

from convnext_dense.data.prefetch import ahead
from convnext_dense.detection.feature_store import FeatureStore
from convnext_dense.detection.mask_scores import mask_levels, mask_probabilities, paste
from convnext_dense.detection.merge_views import Detections, Merger, to_picture, to_view
from convnext_dense.detection.roi_extractor import converted_once
from convnext_dense.detection.roi_heads import OwnClassCascadeRoIHead, OwnClassRoIHead
from convnext_dense.errors import UserError

MIB = 2**20


@dataclass(frozen=True, order=True)
class View:
    """One way to look at a picture: resized into (short, long), mirrored or not."""

    scale: tuple[int, int]
    flip: bool


@TASK_UTILS.register_module()
class DetectionViews:
    """Tests Mask R-CNN and Cascade Mask R-CNN, with or without masks, in several views.

    The views of a picture have their turn one after the other: features, proposals, boxes with
    the model's own test settings, mapped to the picture. The merged boxes then go through the
    mask head in every view. A mirrored view is flipped before it is resized, so a flipped picture
    has the same views as the picture itself, to the last bit.

    Features of a view are computed once and wait for the mask head. All of them together would
    grow with the number of views (T at 18 views of 400 to 1200 pixels: 1.4 GB a picture), so they
    wait in memory up to a bound and beyond it in a temporary file (see :class:`FeatureStore`);
    docs/test.md has the cost. The result does not depend on the bound.

    Args:
        scales: (short side, long side) of every scale in pixels, proportions kept.
        flip: Also look at the mirrored picture in every scale.
        merge: How detections are merged: ``score_thr``, ``nms``, ``max_per_img`` (see
            :class:`Merger`).
        resize: The test pipeline's ``Resize`` step: the single scale, and how to interpolate.
        feature_memory: Features of a picture to keep in memory, in MiB; None for 256 on a CPU, and
            on a GPU a quarter of what is free there.

    Raises:
        UserError: For scales, merging or a resizing step that cannot be used.
    """

    def __init__(
        self,
        scales: Sequence[tuple[int, int]],
        flip: bool,
        merge: dict[str, Any],
        resize: dict[str, Any],
        feature_memory: float | None = None,
    ) -> None:
        # Sorted: neither the order in the config nor a repeated scale changes a sum.
        flips = (False, True) if flip else (False,)
        self.views = sorted(View(scale, f) for scale in {*map(_scale, scales)} for f in flips)
        if not self.views:
            raise UserError("tta_views.scales is empty: give at least one (short, long) scale.")
        try:
            self.merge = Merger(**merge)
        except TypeError as error:
            raise UserError(f"tta_views.merge: {error}.") from error
        if not resize.get("keep_ratio") or not resize.get("scale"):
            raise UserError("--tta needs a Resize with scale and keep_ratio=True in the test.")
        how = {key: value for key, value in resize.items() if key != "type"}
        self.single = Resize(**{**how, "scale": tuple(how["scale"])})
        self.resizes = {
            view.scale: Resize(**{**how, "scale": view.scale[::-1]}) for view in self.views
        }
        if feature_memory is not None and not feature_memory >= 0:
            raise UserError(f"tta_views.feature_memory must be 0 or more, got {feature_memory}.")
        self.feature_memory = feature_memory

    def __len__(self) -> int:
        """Number of views of a picture."""
        return len(self.views)

    @torch.no_grad()
    def predict(self, model: nn.Module, batch: dict[str, list]) -> list[DetDataSample]:
        """Tests every picture of a batch, one after the other.

        Args:
            model: A detector in evaluation mode.
            batch: ``inputs``: pictures (3, height, width) as read; ``data_samples``.

        Returns:
            The data samples with ``pred_instances`` in the pictures' own pixels.

        Raises:
            UserError: For a detector of another kind.
        """
        check_supported(model)
        samples = batch["data_samples"]
        samplelist_boxtype2tensor(samples)  # as the model's preprocessor does
        for image, sample in zip(batch["inputs"], samples, strict=True):
            sample.pred_instances = self.predict_picture(model, image)
        return samples

    @torch.no_grad()
    def predict_single_scale(self, model: nn.Module, batch: dict[str, list]) -> list[DetDataSample]:
        """Tests the same batch as the plain test does, at the pipeline's own scale."""
        views = [resized(image, self.single, flip=False) for image in batch["inputs"]]
        inputs, samples = zip(*views, strict=True)
        return model.test_step(dict(inputs=list(inputs), data_samples=list(samples)))

    def predict_picture(self, model: nn.Module, image: Tensor) -> InstanceData:
        """Boxes, scores, labels and masks of one picture (3, height, width) from all views."""
        height, width = image.shape[1:]
        device = next(model.parameters()).device

        def seen_as(view: View) -> tuple[Tensor, DetDataSample]:
            return resized(image, self.resizes[view.scale], view.flip)

        with FeatureStore(self._feature_bytes(device)) as store:
            turns = [
                self._look(model, *seen, view.flip, store)
                for view, seen in zip(self.views, ahead(seen_as, self.views), strict=True)
            ]
            boxes, scores, labels = self.merge([found for found, _ in turns])
            results = InstanceData(
                bboxes=boxes.float().to(device), scores=scores.to(device), labels=labels.to(device)
            )
            if not model.roi_head.with_mask:
                return results
            total = None
            for number, (view, (_, factor)) in enumerate(zip(self.views, turns, strict=True)):
                if len(boxes) == 0:
                    break
                rois = bbox2roi([to_view(boxes, factor, width, view.flip).to(device)])
                masks = mask_probabilities(
                    model.roi_head,
                    converted_once(model.roi_head, store.get(number)),
                    rois,
                    results.labels,
                ).double()
                masks = masks.flip(-1) if view.flip else masks
                total = masks if total is None else total + masks
        mean = None if total is None else (total / len(self.views)).float()
        meta = dict(ori_shape=(height, width), scale_factor=(1.0, 1.0))
        return paste(model.roi_head, mean, results, meta, rescale=True)

    def _feature_bytes(self, device: torch.device) -> int:
        if self.feature_memory is not None:
            return int(self.feature_memory * MIB)
        return torch.cuda.mem_get_info(device)[0] // 4 if device.type == "cuda" else 256 * MIB

    def _look(
        self,
        model: nn.Module,
        inputs: Tensor,
        sample: DetDataSample,
        flip: bool,
        store: FeatureStore,
    ) -> tuple[Detections, tuple[float, float]]:
        """One view's turn: its detections in the picture's pixels, and its scale factor."""
        data = model.data_preprocessor(dict(inputs=[inputs], data_samples=[sample]), False)
        features = model.extract_feat(data["inputs"])
        samples = data["data_samples"]
        metas = [sample.metainfo for sample in samples]
        proposals = model.rpn_head.predict(features, samples, rescale=False)
        head = model.roi_head
        # Without masks mmdet suppresses in the picture's pixels, with masks in the view's.
        (found,) = head.predict_bbox(
            converted_once(head, features),  # not what waits: that would be twice the bytes
            metas,
            proposals,
            rcnn_test_cfg=head.test_cfg,
            rescale=not head.with_mask,
        )
        factor = metas[0]["scale_factor"]
        if head.with_mask:
            store.put(features[: mask_levels(head)])
        boxes = to_picture(
            found.bboxes.cpu(),
            factor if head.with_mask else (1.0, 1.0),
            sample.ori_shape[1],
            flip,
        )
        return Detections(boxes, found.scores.float().cpu(), found.labels.cpu()), factor


def _scale(scale: Sequence[int]) -> tuple[int, int]:
    pair = tuple(scale) if isinstance(scale, list | tuple) else ()
    if len(pair) != 2 or not all(isinstance(side, int) for side in pair) or not min(pair) > 0:
        raise UserError(f"tta_views.scales holds {scale!r}: a scale is (short, long) in pixels.")
    return min(pair), max(pair)


def check_supported(model: nn.Module) -> None:
    """Refuses detectors whose heads do more than this module repeats."""
    known = (OwnClassRoIHead, OwnClassCascadeRoIHead, StandardRoIHead, CascadeRoIHead)
    head = model.roi_head if isinstance(model, TwoStageDetector) else None
    if head is None or type(head) not in known or head.with_shared_head or not model.with_rpn:
        raise UserError(
            f"--tta knows Mask R-CNN, Cascade Mask R-CNN and both without masks, not "
            f"{type(model).__name__} with {type(head).__name__}: test without --tta."
        )


def resized(image: Tensor, resize: Resize, flip: bool) -> tuple[Tensor, DetDataSample]:
    """A view of a picture (channels, height, width), and what a detector needs to know of it."""
    pixels = image.permute(1, 2, 0).numpy()
    done = resize.transform(dict(img=np.ascontiguousarray(pixels[:, ::-1] if flip else pixels)))
    sample = DetDataSample(
        metainfo=dict(
            ori_shape=pixels.shape[:2],
            img_shape=done["img_shape"],
            scale_factor=done["scale_factor"],
        )
    )
    view = np.atleast_3d(done["img"])  # OpenCV drops a single channel
    return torch.from_numpy(view).permute(2, 0, 1).contiguous(), sample
