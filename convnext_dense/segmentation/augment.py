"""What each choice of ``--augment`` does with a segmentor's training images."""

from typing import Any

from convnext_dense.config.config_tree import walk
from convnext_dense.errors import UserError
from convnext_dense.finetune.validation_scale import validation_scale

STANDARD, LARGE = (0.8, 1.25), (0.1, 2.0)  # of the resize, as shares of the test's size
FLIP = dict(type="RandomFlip", prob=0.5)


def augmentation_steps(cfg: Any, choice: str) -> list[dict[str, Any]]:
    """The steps between loading and packing.

    The crop is part of each of them: a batch is made of images of one size.

    Args:
        cfg: A config that was fitted to its data.
        choice: One of ``AUGMENT`` in ``cli/shared/finetune_arguments.py``, but ``recipe``.

    Raises:
        UserError: For copy-paste, or a config without a crop or a size of its test.
    """
    if choice == "copy-paste":
        raise UserError(
            "--augment copy-paste is for instances, which label images do not tell apart: take "
            "--augment mosaic, lsj or mild."
        )
    scale, size = validation_scale(cfg), _crop_size(cfg)
    crop = dict(type="RandomCrop", crop_size=size)
    mild = [_resize(scale, STANDARD), FLIP]
    return {
        "none": [dict(type="Resize", scale=scale, keep_ratio=True), crop],
        "mild": [*mild, crop],
        "lsj": [_resize(scale, LARGE), FLIP, crop],
        "mosaic": [*mild, dict(type="LabelMosaic", size=size), crop],
    }[choice]


def _resize(scale: tuple[int, int], factors: tuple[float, float]) -> dict[str, Any]:
    return dict(type="RandomResize", scale=scale, ratio_range=factors, keep_ratio=True)


def _crop_size(cfg: Any) -> tuple[int, int]:
    """Height and width of the training crops."""
    for node in walk(cfg.train_dataloader.dataset):
        if node.get("type") == "RandomCrop":
            return tuple(node.crop_size)
    raise UserError(
        "--augment keeps the size of the training crops, and the training pipeline has no "
        "RandomCrop: give it one, or leave --augment out."
    )
