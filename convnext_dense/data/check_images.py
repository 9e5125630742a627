"""Checks that each task's images share: readable, of a size that can be resized."""

from collections.abc import Sequence
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, TRANSFORMS

from convnext_dense.data.image_scan import (
    LOADERS,
    ImageOpener,
    ListedImage,
    OpenedImage,
    open_each,
    open_in_parallel,
)
from convnext_dense.data.images import explaining_opencv
from convnext_dense.data.seeded_random import seeded_random
from convnext_dense.data.text_files import opening_annotation_files
from convnext_dense.errors import UserError

SAMPLE = 32  # images of a split that are opened
SHOWN = 5  # names in a message


def build_dataset(cfg: Config, dataset: ConfigDict, **changes: Any) -> Any:
    """Builds a dataset in its toolbox's scope, without pycocotools' output."""
    with (
        DATASETS.switch_scope_and_registry(cfg.get("default_scope")) as registry,
        opening_annotation_files(),
    ):
        return registry.build({**dataset, **changes})


def open_images(
    opener: ImageOpener, images: Sequence[ListedImage], every: bool, folder: str
) -> list[OpenedImage]:
    """Opens images one after another, or all of a dataset in several processes."""
    return open_in_parallel(opener, images, folder) if every else open_each(opener, images)


def refuse_unreadable(opened: Sequence[OpenedImage], folder: str, total: int) -> None:
    """Refuses images that cannot be read.

    Raises:
        UserError: Names some of them.
    """
    broken = [image for image in opened if image.unreadable]
    if broken:
        hint = "" if len(opened) == total else "; --scan opens all"
        reasons = [f"{image.path} ({image.unreadable})" for image in broken]
        raise UserError(
            f"{len(broken)} of {len(opened)} opened images of {folder} (it has {total}) cannot "
            f"be read: {name_some(reasons)}: copy them again or leave them out{hint}."
        )


def resize_thinnest(cfg: Config, dataset: ConfigDict, images: Sequence[ListedImage]) -> None:
    """Resizes the image whose sides differ most as the config does: a side may round to 0 pixels.

    Raises:
        UserError: Names the image.
    """
    used = (*LOADERS, "Resize")
    steps = [step for step in dataset.pipeline if str(step.get("type")).endswith(used)]
    thinnest = max(images, key=lambda image: max(image.size) / min(image.size))
    with TRANSFORMS.switch_scope_and_registry(cfg.get("default_scope")) as registry:
        chain = [registry.build(step) for step in steps]
    results = dict(img_path=thinnest.path)
    with seeded_random(0), explaining_opencv(thinnest.path):
        for step in chain:
            results = step(results)


def name_some(items: Sequence[str]) -> str:
    """The first items, with dots where there are more."""
    return ", ".join(items[:SHOWN]) + (" ..." if len(items) > SHOWN else "")
