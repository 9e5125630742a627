"""Image classification as a task: images with one class each."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.registry import DATASETS

from convnext_dense.data.class_folders.check_images import check_classified_images
from convnext_dense.data.class_folders.fit_config import (
    assume_head_classes,
    fit_to_class_folders,
    image_datasets,
)
from convnext_dense.data.class_folders.layouts import read_class_names
from convnext_dense.data.class_folders.prepare import prepare_classification
from convnext_dense.errors import UserError
from convnext_dense.tasks import ClassCounts, Task


class ClassificationTask(Task):
    """Classification of images in class folders, shards or a Hugging Face dataset."""

    name = "classification"
    fits_schedule = False

    def datasets(self, cfg: Any, split: str) -> list[Any]:
        """Datasets with one class for each image."""
        return image_datasets(cfg, split)

    def prepare_own_data(self, own_data: Any) -> Any:
        """See :func:`convnext_dense.data.class_folders.prepare.prepare_classification`."""
        return prepare_classification(own_data)

    def use_own_data(
        self, dataset: Any, images: str, truth: str, own_data: Any, options: Mapping[str, Any]
    ) -> None:
        """A csv file of images and their classes, and the names of ``--classes``."""
        dataset.update(data_root=os.path.join(dataset.data_root, truth), reader="list")
        if own_data.classes:
            dataset.metainfo = dict(classes=list(read_class_names(own_data.classes)))

    def fit_config(
        self, cfg: Any, splits: Sequence[str], classes: tuple[str, ...] | None = None
    ) -> None:
        """See :func:`convnext_dense.data.class_folders.fit_config.fit_to_class_folders`."""
        fit_to_class_folders(cfg, tuple(splits), classes)

    def assume_classes(self, cfg: Any) -> None:
        """The stated number of classes, else 2."""
        assume_head_classes(cfg)

    def listed_images(self, cfg: Any, dataset: Any) -> list[str]:
        """The files of a csv; folders may hold millions."""
        if dataset.reader != "list":
            return []
        return DATASETS.get(dataset.type).some_files(dataset.data_root, "list", sys.maxsize)

    def trial_batch(self, cfg: Any, images: int, size: tuple[int, int]) -> dict[str, Any]:
        """Noise, and the same probability of every class."""
        backbone = cfg.model.backbone
        classes = backbone.num_classes
        return dict(
            inputs=torch.randn(images, backbone.get("in_channels", 3), *size),
            targets=torch.full((images, classes), 1 / classes),
        )

    def check_images(self, cfg: Any, dataset: Any, every: bool, training: bool) -> list[Any]:
        """See :func:`convnext_dense.data.class_folders.check_images.check_classified_images`."""
        return check_classified_images(cfg, dataset, every)

    def classes_of_images(self, dataset: Any) -> list[set[int]]:
        """The class of each image.

        Raises:
            UserError: For a reader that does not know it, and for shards, which are read in turn.
        """
        labels = dataset.image_labels()
        if labels is None or dataset.groups is not None:
            raise UserError(
                "--balance needs the class of each image and any order of them, which this layout "
                "of the data does not give: use class folders, or leave --balance out."
            )
        return [{int(label)} for label in labels]

    def draw_result(self, visualizer: Any, name: str, sample: Any, step: int) -> None:
        """The image with its class, and with the predicted one if it is another."""
        from convnext_dense.classification.draw_results import draw_classes

        classes = visualizer.dataset_meta["classes"]
        truth, predicted = int(sample["label"]), int(sample["logits"].argmax())
        image = draw_classes(sample["path"], classes[truth], classes[predicted])
        visualizer.add_image(name, image[..., ::-1], step)

    def count_classes(self, cfg: Any, dataset: Any, opened: Sequence[Any]) -> ClassCounts | None:
        """Images, where the reader can count them."""
        counts = dataset.count_labels()
        if counts is None:
            return None
        return ClassCounts("images", dict(zip(dataset.metainfo["classes"], counts, strict=True)))


TASK = ClassificationTask()
