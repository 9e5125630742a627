"""What each choice of ``--augment`` does with a detector's training images.

The sizes are those of the config's test: a choice replaces the recipe's own changes of the images
as a whole.
"""

from math import sqrt
from typing import Any

from convnext_dense.data.coco.annotation_file import read_summary
from convnext_dense.data.coco.fit_config import annotation_path, coco_datasets
from convnext_dense.data.coco.mask_branch import predicts_masks
from convnext_dense.errors import UserError
from convnext_dense.finetune.validation_scale import validation_scale

# Ranges of the resize, as shares of the test's size: standard and large-scale jitter of Simple
# Copy-Paste (https://arxiv.org/abs/2012.07177).
STANDARD, LARGE = (0.8, 1.25), (0.1, 2.0)
STEP = 32  # pixels: the network's stride
FLIP = dict(type="RandomFlip", prob=0.5)


def augmentation_steps(cfg: Any, choice: str) -> list[dict[str, Any]]:
    """The steps between loading and packing.

    Args:
        cfg: A config that was fitted to its data.
        choice: One of ``AUGMENT`` in ``cli/shared/finetune_arguments.py``, but ``recipe``.

    Raises:
        UserError: For copy-paste without masks, or a config whose test has no size.
    """
    scale = validation_scale(cfg)
    has_masks = any(step.get("with_mask") for step in cfg.train_dataloader.dataset.pipeline)
    side = max(STEP, round(sqrt(scale[0] * scale[1]) / STEP) * STEP)
    mild = [FLIP, *_resized(scale, STANDARD, max(scale), has_masks)]
    if choice == "copy-paste" and not has_masks:
        raise UserError(
            f"--augment copy-paste cuts objects out by their masks, and {_why_no_masks(cfg)}: take "
            "--augment mosaic, lsj or mild."
        )
    return {
        "none": [dict(type="Resize", scale=scale, keep_ratio=True)],
        "mild": mild,
        "lsj": [FLIP, *_resized((side, side), LARGE, side, has_masks)],
        "copy-paste": [*mild, dict(type="PasteObjects")],
        "mosaic": [*mild, dict(type="InstanceMosaic", size=(side, side))],
    }[choice]


def _why_no_masks(cfg: Any) -> str:
    """Why training reads no masks: the data has none, or the model learns none."""
    files = [read_summary(annotation_path(data)) for data in coco_datasets(cfg, "train")]
    if not predicts_masks(cfg.model) and any(file.has_masks for file in files):
        return "this model finds boxes alone, so it reads no masks"
    return "the training data has boxes alone"


def _resized(
    scale: tuple[int, int], factors: tuple[float, float], side: int, has_masks: bool
) -> list[dict[str, Any]]:
    """A resize by a random factor, and a crop of at most ``side`` pixels where that is larger."""
    return [
        dict(type="RandomResize", scale=scale, ratio_range=factors, keep_ratio=True),
        dict(
            type="RandomCrop",
            crop_size=(side, side),
            recompute_bbox=has_masks,
            allow_negative_crop=True,
        ),
        dict(type="TidyInstances"),
    ]
