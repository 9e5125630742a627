"""Semantic segmentation as a task: label images, mmsegmentation's heads."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from convnext_dense.config.config_tree import evaluators
from convnext_dense.config.reading import add_import
from convnext_dense.data.check_images import build_dataset
from convnext_dense.data.head_classes import set_num_classes
from convnext_dense.data.labels.check_images import check_segmentation_images, remarks_on_labels
from convnext_dense.data.labels.fit_config import (
    assume_label_classes,
    fit_to_labels,
    label_datasets,
)
from convnext_dense.data.labels.own_labels import use_own_labels
from convnext_dense.data.layouts.prepare import prepare_own_labels
from convnext_dense.segmentation.augment import augmentation_steps
from convnext_dense.segmentation.draw_results import draw_labels
from convnext_dense.segmentation.load_labels import read_present_classes
from convnext_dense.tasks import ClassCounts, Task


class SegmentationTask(Task):
    """Segmentation with label images."""

    name = "segmentation"

    def datasets(self, cfg: Any, split: str) -> list[Any]:
        """Datasets with label images."""
        return label_datasets(cfg, split)

    def prepare_own_data(self, own_data: Any) -> Any:
        """See :func:`convnext_dense.data.layouts.prepare.prepare_own_labels`."""
        return prepare_own_labels(own_data)

    def use_own_data(
        self, dataset: Any, images: str, truth: str, own_data: Any, options: Mapping[str, Any]
    ) -> None:
        """See :func:`convnext_dense.data.labels.own_labels.use_own_labels`."""
        use_own_labels(dataset, images, truth, own_data, options)

    def fit_config(
        self, cfg: Any, splits: Sequence[str], classes: tuple[str, ...] | None = None
    ) -> None:
        """See :func:`convnext_dense.data.labels.fit_config.fit_to_labels`."""
        fit_to_labels(cfg, tuple(splits), classes)

    def assume_classes(self, cfg: Any) -> None:
        """The dataset class's own number of classes, else 2."""
        assume_label_classes(cfg)

    def fit_to_checkpoint(
        self,
        cfg: Any,
        content: Mapping[str, Any],
        source: str,
        classes: tuple[str, ...] | None = None,
    ) -> None:
        """Sets the number of classes."""
        if classes is not None:
            set_num_classes(cfg.model, len(classes), source)

    def image_paths(self, cfg: Any, dataset: Any) -> list[str]:
        """The files that mmsegmentation lists."""
        built = build_dataset(cfg, dataset, pipeline=[])
        return [built.get_data_info(index)["img_path"] for index in range(len(built))]

    def keep_scores(self, cfg: Any, split: str | None) -> None:
        """Keeps the scores of all classes in results only where an evaluator reads them."""
        if cfg.model.get("type") != "Segmentor":
            return
        read = any(
            evaluator.get("type") != "MeanIoUMetric" or bool(evaluator.get("outfile"))
            for evaluator in (evaluators(cfg, split) if split else [])
        )
        cfg.model.test_cfg = dict(cfg.model.get("test_cfg") or {}, keep_scores=read)

    def augmentation_steps(self, cfg: Any, choice: str) -> list[dict[str, Any]]:
        """See :func:`convnext_dense.segmentation.augment.augmentation_steps`."""
        add_import(cfg, "convnext_dense.segmentation.mosaic")
        return augmentation_steps(cfg, choice)

    def classes_of_images(self, dataset: Any) -> list[set[int]]:
        """Classes of the labels, of which every file is read."""
        return read_present_classes(dataset)

    def trial_batch(self, cfg: Any, images: int, size: tuple[int, int]) -> dict[str, Any]:
        """Noise in which every pixel has the first class."""
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample  # needs the toolbox

        meta = dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size)
        samples = [
            SegDataSample(
                metainfo=meta, gt_sem_seg=PixelData(data=torch.zeros(1, *size, dtype=torch.long))
            )
            for _ in range(images)
        ]
        channels = cfg.model.backbone.get("in_channels", 3)
        return dict(inputs=torch.randn(images, channels, *size), data_samples=samples)

    def check_images(self, cfg: Any, dataset: Any, every: bool, training: bool) -> list[Any]:
        """See :func:`convnext_dense.data.labels.check_images.check_segmentation_images`."""
        return check_segmentation_images(cfg, dataset, every, training)

    def remarks(self, cfg: Any, split: str, opened: Sequence[Any]) -> list[str]:
        """Classes without a pixel."""
        return remarks_on_labels(cfg, split, opened)

    def count_classes(self, cfg: Any, dataset: Any, opened: Sequence[Any]) -> ClassCounts | None:
        """Pixels of the labels that were opened."""
        labels = [image.labels for image in opened if image.labels is not None]
        if not labels:
            return None
        names = tuple(dataset.metainfo["classes"])
        pixels = np.sum(labels, axis=0)
        counts = dict(zip(names, pixels[: len(names)].tolist(), strict=True))
        ignored = pixels[-1] / pixels.sum()
        note = f"ignored {ignored:.1%} (of {len(labels)} labels)"
        return ClassCounts("pixels", counts, as_shares=True, note=note)

    def data_browser(self) -> Any:
        """Labels over images."""
        from convnext_dense.segmentation.browser import BROWSER  # needs matplotlib

        return BROWSER

    def draw_result(self, visualizer: Any, name: str, sample: Any, step: int) -> None:
        """The true labels over the image on the left, the predicted ones on the right."""
        draw_labels(visualizer, name, sample, step=step)


TASK = SegmentationTask()
