"""Pretraining without labels as a task: images in a folder, and nothing to evaluate."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.registry import TRANSFORMS

from convnext_dense.config.config_tree import datasets
from convnext_dense.data.check_images import SAMPLE, SHOWN, refuse_unreadable
from convnext_dense.data.image_scan import (
    OpenedImage,
    evenly_spaced,
    open_classified,
    open_each,
    open_in_parallel,
)
from convnext_dense.errors import UserError
from convnext_dense.runs.work_folder import resolve_checkpoint
from convnext_dense.self_supervised.images import find_images
from convnext_dense.self_supervised.masking import check_patch_size, choose_patch_size
from convnext_dense.self_supervised.teacher import Teacher
from convnext_dense.self_supervised.views import GRID, LOCAL_SHARE
from convnext_dense.tasks import Task

KIND = "UnlabelledImages"
MASKED, DISTILLED = "MaskedAutoencoder", "Distillation"
SKIPPING = "SkipUnreadableHook"


class SelfSupervisedTask(Task):
    """Pretraining of a backbone on images alone."""

    name = "self_supervised"
    fits_schedule = False

    def datasets(self, cfg: Any, split: str) -> list[Any]:
        """Datasets of images without labels."""
        return [data for data in datasets(cfg, split) if data.get("type") == KIND]

    def use_own_data(
        self, dataset: Any, images: str, truth: str, own_data: Any, options: Mapping[str, Any]
    ) -> None:
        """The folder of images: the data root."""

    def fit_config(
        self, cfg: Any, splits: Sequence[str], classes: tuple[str, ...] | None = None
    ) -> None:
        """Checks the folder and the teacher, and sets the size of the patches.

        Raises:
            UserError: For a folder without images, patches that do not fit, no teacher, and where
                something is to be evaluated.
        """
        if "train" not in splits:
            raise UserError(
                "A pretraining without labels has nothing to evaluate: train a model from its "
                "work folder with --backbone-weights, and test that."
            )
        for data in self.datasets(cfg, "train"):
            find_images(data.data_root)
            if cfg.model.type == MASKED:
                size = data.transform.size
                cfg.model.patch_size = cfg.model.get("patch_size") or choose_patch_size(size)
                check_patch_size(cfg.model.patch_size, size)
        if cfg.model.type == DISTILLED:
            fit_teacher(cfg.model)

    def assume_classes(self, cfg: Any) -> None:
        """There are none."""

    def listed_images(self, cfg: Any, dataset: Any) -> list[str]:
        """All files of the folder."""
        return find_images(dataset.data_root)

    def trial_batch(self, cfg: Any, images: int, size: tuple[int, int]) -> dict[str, Any]:
        """Noise: as many views of each image as the config's transform makes, local ones in
        proportion to the global ones."""
        (data,) = self.datasets(cfg, "train")
        views = TRANSFORMS.build(data.transform)
        counts = getattr(views, "counts", dict(inputs=1))
        local = [max(GRID, round(side * LOCAL_SHARE / GRID) * GRID) for side in size]
        channels = cfg.model.backbone.get("in_channels", 3)
        return dict(
            {
                name: torch.randn(images * count, channels, *(size if name == "inputs" else local))
                for name, count in counts.items()
                if count
            },
            paths=[""] * images,
        )

    def check_images(self, cfg: Any, dataset: Any, every: bool, training: bool) -> list[Any]:
        """Opens a sample of the images, or all of them.

        A run skips a few images that cannot be read; they are tolerated here too, up to its limit.

        Raises:
            UserError: For more of them, and for images smaller than a patch.
        """
        paths = find_images(dataset.data_root)
        chosen = paths if every else [paths[i] for i in evenly_spaced(len(paths), SAMPLE)]
        opened = (
            open_in_parallel(open_classified, chosen, dataset.data_root)
            if every
            else open_each(open_classified, chosen)
        )
        broken = [image for image in opened if image.unreadable]
        limits = [hook.limit for hook in cfg.get("custom_hooks", []) if hook.type == SKIPPING]
        if len(broken) > max(limits, default=0) or len(broken) == len(opened):
            refuse_unreadable(opened, dataset.data_root, len(paths))
        for image in broken[:SHOWN]:
            print_log(f"{image.path} cannot be read and will be skipped ({image.unreadable}).")
        if cfg.model.type == MASKED:
            refuse_small(opened, cfg.model.patch_size)
        return opened


def fit_teacher(model: Any) -> None:
    """Checks that a distillation has a teacher that can be read.

    Raises:
        UserError: Says what is missing.
    """
    source = (model.get("teacher") or {}).get("checkpoint")
    if not source:
        raise UserError(
            "Distillation needs a trained teacher: name the file of a ConvNeXt, or the work folder "
            "of a training, with --teacher."
        )
    source = resolve_checkpoint(source)
    if Path(source).is_dir():
        raise UserError(f"--teacher names {source}, a folder that holds no checkpoint.")
    if Path(source).is_file():
        model.teacher.checkpoint = os.path.abspath(source)
    channels = Teacher(**model.teacher).network.downsample_layers[0][0].in_channels
    if channels != model.backbone.get("in_channels", 3):
        raise UserError(
            f"The teacher {source} reads images of {channels} channels, and the student of "
            f"{model.backbone.get('in_channels', 3)}: they must see the same images."
        )


def refuse_small(opened: Sequence[OpenedImage], patch_size: int) -> None:
    """Refuses images that are smaller than a patch: its pixels would be one enlarged detail.

    Raises:
        UserError: Names the smallest one.
    """
    smallest = min(
        (image for image in opened if not image.unreadable),
        key=lambda image: min(image.size, default=sys.maxsize),
    )
    width, height = smallest.size
    if min(width, height) < patch_size:
        raise UserError(
            f"{smallest.path} has {width} x {height} pixels, less than a patch of {patch_size} x "
            f"{patch_size}: give a smaller --image-size, which has smaller patches, or leave such "
            "images out."
        )


TASK = SelfSupervisedTask()
