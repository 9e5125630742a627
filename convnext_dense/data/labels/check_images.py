"""Opens a segmentor's images and label images before a run, and looks for shifted labels."""

import os
from collections.abc import Sequence

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from convnext_dense.data.check_images import (
    SAMPLE,
    build_dataset,
    open_images,
    refuse_unreadable,
    resize_thinnest,
)
from convnext_dense.data.image_scan import (
    ImageOpener,
    ListedImage,
    OpenedImage,
    evenly_spaced,
    open_each,
)
from convnext_dense.errors import UserError

LARGER_SAMPLE = 512  # labels that are read where the first ones look shifted


def check_segmentation_images(
    cfg: Config, dataset: ConfigDict, every: bool, training: bool
) -> list[OpenedImage]:
    """Opens a sample of images with their labels, or all of them.

    Raises:
        UserError: For images or labels that cannot be read, labels beyond the classes, and where
            ``reduce_zero_label`` contradicts them.
    """
    built = build_dataset(cfg, dataset, pipeline=[])
    images = [ListedImage(built.get_data_info(index)) for index in range(len(built))]
    opener = ImageOpener(cfg, dataset)
    folder = os.path.join(dataset.data_root, dataset.data_prefix.img_path)
    numbers = range(len(images)) if every else evenly_spaced(len(images), SAMPLE)
    opened = open_images(opener, [images[number] for number in numbers], every, folder)
    refuse_unreadable(opened, folder, len(images))
    sizes = [image.size for image in opened]
    measured = [ListedImage(images[n].info, size) for n, size in zip(numbers, sizes, strict=True)]
    resize_thinnest(cfg, dataset, measured)
    _refuse_labels(opened)
    if not training or opener.label is None or images[0].info["label_map"] is not None:
        return opened
    reduce_zero = images[0].info["reduce_zero_label"]
    classes = tuple(built.metainfo["classes"])
    if _look_shifted(opened, len(classes), reduce_zero) and len(opened) < len(images):
        # A rare last class may be in the labels that were not read.
        more = sorted({*evenly_spaced(len(images), LARGER_SAMPLE)} - {*numbers})
        opened += open_each(opener, [images[number] for number in more])
        refuse_unreadable(opened, folder, len(images))
        _refuse_labels(opened)
    _refuse_zero(opened, classes, reduce_zero)
    return opened


def _refuse_labels(opened: Sequence[OpenedImage]) -> None:
    wrong = [image.wrong_label for image in opened if image.wrong_label]
    if len(wrong) == 1:
        raise UserError(wrong[0])
    if wrong:
        raise UserError(f"{len(wrong)} of {len(opened)} opened labels are wrong; {wrong[0]}")


def _look_shifted(opened: Sequence[OpenedImage], classes: int, reduce_zero: bool) -> bool:
    """Whether labels hold 0 to the last but one where 1 to the last is meant, all of them."""
    present = sum(image.indices for image in opened) > 0
    return reduce_zero and bool(present[:classes].all()) and not present[classes]


def _refuse_zero(
    opened: Sequence[OpenedImage], classes: tuple[str, ...], reduce_zero: bool
) -> None:
    pixels, count = sum(image.labels for image in opened), len(classes)
    zeros = sum(image.indices for image in opened)[0] / max(1, pixels.sum())
    if not pixels[:-1].any():
        why = f"; with reduce_zero_label 0 is ignored ({zeros:.0%})" if reduce_zero else ""
        raise UserError(
            f"The {len(opened)} opened labels have no pixel of a class, such as that of "
            f"{opened[0].path}: all are ignored{why}: mend the labels or the setting."
        )
    if _look_shifted(opened, count, reduce_zero):
        raise UserError(
            f"reduce_zero_label counts the {count} classes from 1 and ignores 0, but the "
            f"{len(opened)} opened labels hold 0 to {count - 1} and never {count}: leave out "
            "--reduce-zero-label (reduce_zero_label=False), or name the class that label 0 is."
        )
    if not reduce_zero and not pixels[0] and pixels[1:count].all():
        print_log(
            f"No opened label holds 0 ({classes[0]!r}), and 1 to {count - 1} are there: where the "
            "first class is label 1, name the classes from there and give --reduce-zero-label."
        )
