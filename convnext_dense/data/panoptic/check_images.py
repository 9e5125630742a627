"""Opens panoptic images before a run, and compares their PNGs with the annotation file."""

import os
from dataclasses import dataclass, replace

import numpy as np
from mmengine.config import Config, ConfigDict

from convnext_dense.data.check_images import (
    SAMPLE,
    open_images,
    refuse_unreadable,
    resize_thinnest,
)
from convnext_dense.data.coco.fit_config import annotation_path, image_folder
from convnext_dense.data.image_scan import ImageOpener, ListedImage, OpenedImage, evenly_spaced
from convnext_dense.data.panoptic.annotation_file import read_panoptic
from convnext_dense.data.panoptic.fit_config import segments_folder
from convnext_dense.data.panoptic.segments import VOID, read_segments
from convnext_dense.errors import UserError

SHOWN_IDS = 3


@dataclass(frozen=True)
class PanopticOpener:
    """Opens an image and the PNG of its segments.

    Attributes:
        images: Opens the images.
        source: The annotation file, for messages.
    """

    images: ImageOpener
    source: str

    def __call__(self, image: ListedImage) -> OpenedImage:
        """Opens one; what is wrong with its PNG is ``wrong_label``."""
        opened = self.images(image)
        if opened.unreadable or image.info["seg_map_path"] is None:
            return opened
        try:
            self._compare(image, opened)
        except UserError as error:
            return replace(opened, wrong_label=str(error))
        return opened

    def _compare(self, image: ListedImage, opened: OpenedImage) -> None:
        """Refuses a PNG that does not fit its image or the annotation file."""
        path = image.info["seg_map_path"]
        ids = read_segments(path)
        height, width = ids.shape
        for what, size in (("its image has", opened.size), (f"{self.source} says", image.size)):
            if (width, height) != size:
                raise UserError(
                    f"{path} has {width} x {height} pixels, and {what} {size[0]} x {size[1]}: both "
                    "must have the same pixels."
                )
        listed, drawn = set(image.info["ids"]), set(np.unique(ids).tolist()) - {VOID}
        if listed - drawn:
            raise UserError(
                f"{path} has no pixel of the segments {_some(listed - drawn)} that {self.source} "
                "lists: is it another image's PNG, or one whose colours were changed?"
            )
        if drawn - listed:
            raise UserError(
                f"{path} has pixels of the segments {_some(drawn - listed)} that {self.source} "
                "does not list: list them, or draw what belongs to no segment in black."
            )


def check_panoptic_images(cfg: Config, dataset: ConfigDict, every: bool) -> list[OpenedImage]:
    """Opens a sample of a dataset's images and PNGs, or all of them.

    Raises:
        UserError: For images that cannot be read, and PNGs whose size or segments are not those of
            the annotation file.
    """
    summary = read_panoptic(annotation_path(dataset))
    folder, segments = image_folder(dataset), segments_folder(dataset)
    images = [
        ListedImage(
            dict(
                img_path=os.path.join(folder, image.file_name),
                seg_map_path=image.png and os.path.join(segments, image.png),
                ids=[segment.id for segment in image.segments],
            ),
            image.size,
        )
        for image in summary.images
    ]
    numbers = range(len(images)) if every else evenly_spaced(len(images), SAMPLE)
    chosen = [images[number] for number in numbers]
    opener = PanopticOpener(ImageOpener(cfg, dataset), summary.path)
    opened = open_images(opener, chosen, every, folder)
    refuse_unreadable(opened, folder, len(images))
    if wrong := [image.wrong_label for image in opened if image.wrong_label]:
        more = f" ({len(wrong)} of {len(opened)} opened PNGs are wrong)" if len(wrong) > 1 else ""
        raise UserError(f"{wrong[0]}{more}")
    resize_thinnest(cfg, dataset, images)
    return opened


def _some(ids: set[int]) -> str:
    shown = ", ".join(map(str, sorted(ids)[:SHOWN_IDS]))
    return shown + (f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else "")
