"""Testing in tiles (``convnext-dense test --tile``): views for the loop of tests in several views.

The images leave the data loader as they were read. Each tile then goes through the test pipeline's
``Resize`` and the model, as if it were an image, and the evaluators get the merged result.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import TASK_UTILS
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from convnext_dense.config.config_tree import datasets
from convnext_dense.engine.multi_view_test import build_views, take_resize
from convnext_dense.errors import UserError
from convnext_dense.inference.instances import Instances
from convnext_dense.inference.tiled_labels import segment_in_tiles
from convnext_dense.inference.tiles import check_tiles, cut, detect_in_tiles
from convnext_dense.inference.trained.networks import to_instances
from convnext_dense.tasks import task_of

VIEWS = {"detection": "DetectionTiles", "segmentation": "SegmentationTiles"}


def use_tiles(cfg: Config, tile: int, overlap: float, whole: bool, draw: bool) -> None:
    """Makes a config's test one in tiles.

    Args:
        cfg: A resolved config; changed in place.
        tile: Side of a tile in pixels of the image.
        overlap: Share of a tile's side that neighbours have in common, at least.
        whole: Also look at the whole image, shrunk.
        draw: Whether images of the results are written.

    Raises:
        UserError: For tiles that cannot be used, or a task or a test that cannot be one of tiles.
    """
    check_tiles(tile, overlap)
    task = task_of(cfg).name
    if task not in VIEWS:
        raise UserError(f"--tile cuts images for detectors and segmentors, not for {task}.")
    if task == "detection":
        if draw:
            raise UserError(
                "--tile does not go with --show-dir for a detector: its masks would be drawn at "
                "the size of the whole image. The predict command draws what it finds in tiles."
            )
        for dataset in datasets(cfg, "test"):  # a bitmap of the image's size for each object
            dataset.pipeline = [step for step in dataset.pipeline if "Annotations" not in step.type]
    views = dict(
        type=VIEWS[task],
        tile=tile,
        overlap=overlap,
        whole=whole,
        batch_size=cfg.test_dataloader.get("batch_size", 1),
        resize=take_resize(cfg, "--tile"),
    )
    build_views(views)  # what does not fit is named before a model is built
    cfg.test_cfg = dict(type="MultiViewTestLoop", views=views, timed=0)
    cfg.custom_imports["imports"] = [*cfg.custom_imports["imports"], __name__]


class Tiles:
    """Tests a model in tiles of each image.

    Args:
        tile, overlap, whole: See :func:`use_tiles`.
        resize: The test pipeline's ``Resize`` step.
        batch_size: Tiles that are predicted together.
    """

    def __init__(
        self, tile: int, overlap: float, resize: dict[str, Any], whole: bool, batch_size: int = 1
    ) -> None:
        options = {key: value for key, value in resize.items() if key != "type"}
        self.options = dict(tile=tile, overlap=overlap, whole=whole, batch_size=batch_size)
        self.resize = self._resize_type()(**{**options, "scale": tuple(options["scale"])})
        self.count = 0

    @staticmethod
    def _resize_type() -> type:
        """The toolbox's ``Resize``, imported where that toolbox is used."""
        raise NotImplementedError

    @property
    def facts(self) -> dict[str, Any]:
        """What ``metrics.json`` says about a test in tiles."""
        named = {key: self.options[key] for key in ("tile", "overlap", "whole")}
        return {**named, "tiles": self.count}

    @torch.no_grad()
    def predict(self, model: nn.Module, batch: dict[str, list]) -> list[Any]:
        """Tests the images of a batch one by one.

        Args:
            model: A model in evaluation mode.
            batch: ``inputs``: images (3, height, width) as read; ``data_samples``.

        Returns:
            The data samples with the merged results in pixels of the original images.
        """
        for image, sample in zip(batch["inputs"], batch["data_samples"], strict=True):
            pixels = image.permute(1, 2, 0).numpy()
            self.count += len(cut(pixels.shape[:2], self.options["tile"], self.options["overlap"]))
            self._predict_image(model, pixels, sample)
        return batch["data_samples"]

    def _predict_image(self, model: nn.Module, pixels: np.ndarray, sample: Any) -> None:
        """Puts the merged results of an image (height, width, 3) into its data sample."""
        raise NotImplementedError


@TASK_UTILS.register_module()
class DetectionTiles(Tiles):
    """Boxes and masks; any detector of mmdet. Masks of the results are COCO's encodings."""

    @staticmethod
    def _resize_type() -> type:
        from mmdet.datasets.transforms import Resize

        return Resize

    def _predict_image(self, model: nn.Module, pixels: np.ndarray, sample: Any) -> None:
        found = detect_in_tiles(lambda tiles: self._detect(model, tiles), pixels, **self.options)
        sample.pred_instances = InstanceData(
            bboxes=torch.from_numpy(found.boxes),
            scores=torch.from_numpy(found.scores),
            labels=torch.from_numpy(found.labels),
        )
        if found.masks is not None:
            sample.pred_instances.masks = found.masks

    def _detect(self, model: nn.Module, tiles: Sequence[np.ndarray]) -> list[Instances]:
        from convnext_dense.detection.tta import make_view

        made = [make_view(_to_tensor(tile), self.resize, flip=False) for tile in tiles]
        inputs, samples = zip(*made, strict=True)
        results = model.test_step(dict(inputs=list(inputs), data_samples=list(samples)))
        return [to_instances(sample) for sample in results]


@TASK_UTILS.register_module()
class SegmentationTiles(Tiles):
    """Labels; any segmentor of mmsegmentation."""

    @staticmethod
    def _resize_type() -> type:
        from mmcv.transforms import Resize

        return Resize

    def _predict_image(self, model: nn.Module, pixels: np.ndarray, sample: Any) -> None:
        labels, _ = segment_in_tiles(
            lambda tiles: [self._probabilities(model, tile) for tile in tiles],
            pixels,
            **self.options,
            threshold=getattr(model.decode_head, "threshold", None) or 0.5,
        )
        labels = labels if labels.dtype == np.uint8 else labels.astype(np.int32)
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(labels)[None])

    def _probabilities(self, model: nn.Module, tile: np.ndarray) -> np.ndarray:
        from mmseg.structures import SegDataSample

        from convnext_dense.segmentation.views import make_view

        view = make_view(_to_tensor(tile), self.resize, flip=False)
        meta = dict(ori_shape=tile.shape[:2], img_shape=tuple(view.shape[1:]))
        model.test_cfg["keep_scores"] = True  # our Segmentor may leave them out
        (result,) = model.test_step(
            dict(inputs=[view], data_samples=[SegDataSample(metainfo=meta)])
        )
        scores = result.seg_logits.data.float().cpu()
        # mmsegmentation has applied the sigmoid of a single channel, and no softmax.
        return (scores if len(scores) == 1 else scores.softmax(dim=0)).numpy()


def _to_tensor(tile: np.ndarray) -> Tensor:
    """A view of an image (height, width, 3) as (3, height, width)."""
    return torch.from_numpy(tile).permute(2, 0, 1)
