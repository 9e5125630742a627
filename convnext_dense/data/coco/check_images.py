"""Opens a detector's images before a run, and compares their sizes with the annotation file."""

import os
from collections.abc import Sequence

from mmengine.config import Config, ConfigDict

from convnext_dense.data.check_images import (
    SAMPLE,
    name_some,
    open_images,
    refuse_unreadable,
    resize_thinnest,
)
from convnext_dense.data.coco.annotation_file import read_summary
from convnext_dense.data.coco.fit_config import annotation_path, image_folder
from convnext_dense.data.image_scan import (
    ImageOpener,
    ListedImage,
    OpenedImage,
    evenly_spaced,
)
from convnext_dense.errors import UserError


def check_detection_images(cfg: Config, dataset: ConfigDict, every: bool) -> list[OpenedImage]:
    """Opens a sample of a COCO dataset's images, or all of them.

    Raises:
        UserError: For images that cannot be read, or have another size than the file says.
    """
    summary = read_summary(annotation_path(dataset))
    folder = image_folder(dataset)
    images = [
        ListedImage(dict(img_path=os.path.join(folder, name)), size)
        for name, size in zip(summary.file_names, summary.sizes, strict=True)
    ]
    numbers = range(len(images)) if every else evenly_spaced(len(images), SAMPLE)
    chosen = [images[number] for number in numbers]
    opened = open_images(ImageOpener(cfg, dataset), chosen, every, folder)
    refuse_unreadable(opened, folder, len(images))
    _refuse_sizes(chosen, opened, summary.path)
    resize_thinnest(cfg, dataset, images)
    return opened


def _refuse_sizes(
    chosen: Sequence[ListedImage], opened: Sequence[OpenedImage], source: str
) -> None:
    wrong = [
        f"{image.path} has {_format(image.size)} and not {_format(listed.size)}"
        + (" (is it turned by its EXIF entry?)" if image.size == listed.size[::-1] else "")
        for listed, image in zip(chosen, opened, strict=True)
        if image.size != listed.size
    ]
    if wrong:
        raise UserError(
            f"{len(wrong)} of {len(opened)} opened images have another size than {source} says, "
            f"so that its boxes would lie elsewhere: {name_some(wrong)}: annotate the images as "
            "they are, or correct width and height with the boxes."
        )


def _format(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
