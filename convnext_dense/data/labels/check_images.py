"""Opens a segmentor's images and labels before a run; looks for shifted and missing classes."""

import os
from collections.abc import Sequence

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from convnext_dense.data.check_images import (
    SAMPLE,
    build_dataset,
    name_some,
    open_images,
    refuse_unreadable,
    resize_thinnest,
)
from convnext_dense.data.class_names import remark_absent
from convnext_dense.data.image_scan import (
    ImageOpener,
    ListedImage,
    OpenedImage,
    evenly_spaced,
)
from convnext_dense.data.labels.fit_config import label_datasets, pairing
from convnext_dense.data.labels.folders import labels_without_image
from convnext_dense.errors import UserError

LARGER_SAMPLE = 512  # labels that are read where the first ones lack a class
IGNORED = 255


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
    if not training or opener.label is None:
        return opened
    classes = tuple(built.metainfo["classes"])
    if len(opened) < len(images) and not all(_pixels(opened, classes)):
        # A rare class may be in the labels that were not read.
        more = sorted({*evenly_spaced(len(images), LARGER_SAMPLE)} - {*numbers})
        opened += _read_until_complete(opener, [images[number] for number in more], opened, classes)
        _refuse_labels(opened)
    raw = opener.label.mask_values is None and opener.label.colours is None
    if images[0].info["label_map"] is None and raw:
        reduce_zero = images[0].info["reduce_zero_label"]
        _refuse_one_value(opened, classes)
        _refuse_zero(opened, classes, reduce_zero)
    return opened


def _read_until_complete(
    opener: ImageOpener,
    images: Sequence[ListedImage],
    opened: Sequence[OpenedImage],
    classes: tuple[str, ...],
) -> list[OpenedImage]:
    """Reads labels until each class has a pixel in them or in those that were opened."""
    read: list[OpenedImage] = []
    for image in images:
        read.append(opener.open_label(image))
        if len(read) % SAMPLE == 0 and (
            read[-1].wrong_label or all(_pixels([*opened, *read], classes))
        ):
            break
    return read


def remarks_on_labels(cfg: Config, split: str, opened: Sequence[OpenedImage]) -> list[str]:
    """Sentences on labels without an image, and on classes without a pixel in those that were read.

    Args:
        cfg: A config that was fitted to its data.
        split: ``train``, ``val`` or ``test``.
        opened: The images of the split that were opened, with their labels.
    """
    used = label_datasets(cfg, split)
    remarks = [line for data in used for line in _remark_left_out(data)]
    read = [image for image in opened if image.labels is not None]
    if not read:
        return remarks
    names = used[0].metainfo["classes"]
    counts = dict(zip(names, _pixels(read, names), strict=True))
    if split == "train":
        where = f" in the {len(read):,} labels that were read"
        return [*remarks, *remark_absent(counts, "pixel", where)]
    if len(only := [name for name, count in counts.items() if count]) == 1:
        remarks.append(f"The {len(read):,} {split} labels that were read hold {only[0]!r} alone.")
    return remarks


def _remark_left_out(data: ConfigDict) -> list[str]:
    if data.get("ann_file"):  # a list names what is used
        return []
    images, labels, *endings = pairing(data)
    lonely = labels_without_image(images, labels, *endings)
    if not lonely:
        return []
    return [
        f"{len(lonely)} label files of {labels} have no image in {images} and are left out: "
        f"{name_some(lonely)}."
    ]


def _pixels(opened: Sequence[OpenedImage], classes: Sequence[str]) -> list[int]:
    """Pixels of each class, in the labels that could be read."""
    pixels = sum(image.labels for image in opened if image.labels is not None)
    return pixels[: len(classes)].tolist()


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


def _refuse_one_value(opened: Sequence[OpenedImage], classes: tuple[str, ...]) -> None:
    """Refuses masks of one value and 255: 255 is ignored, and then one class is all there is."""
    values = np.flatnonzero(sum(image.indices for image in opened)).tolist()
    pixels = _pixels(opened, classes)
    if len(values) != 2 or values[1] != IGNORED or sum(map(bool, pixels)) != 1:
        return
    only = classes[np.argmax(pixels)]
    other = next(name for name in classes if name != only)
    raise UserError(
        f"The {len(opened)} opened labels, such as that of {opened[0].path}, hold {values[0]} and "
        f"255 alone, and 255 is ignored: nothing but {only!r} would be trained. Where 255 is a "
        f"class, give --mask-values {values[0]}={only} 255={other}, or write its index in its "
        "place."
    )


def _refuse_zero(
    opened: Sequence[OpenedImage], classes: tuple[str, ...], reduce_zero: bool
) -> None:
    pixels, count = sum(image.labels for image in opened), len(classes)
    zeros = sum(image.indices for image in opened)[0] / max(1, pixels.sum())
    if not pixels[:-1].any():
        why = f"; with reduce_zero_label 0 is ignored ({zeros:.0%})" if reduce_zero else ""
        why += ", and so is 255, unless --mask-values 0=NAME 255=NAME names its class"
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
