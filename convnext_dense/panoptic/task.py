"""Panoptic segmentation as a task: COCO panoptic files and PNGs of segments, mmdet's models."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from convnext_dense.data.coco.annotated_task import AnnotatedTask
from convnext_dense.data.coco.fit_config import annotation_path
from convnext_dense.data.head_classes import (
    COCO_STUFF,
    COCO_THINGS,
    assume_num_classes,
    set_num_classes,
)
from convnext_dense.data.panoptic.annotation_file import (
    count_segments,
    read_panoptic,
    trained_images,
)
from convnext_dense.data.panoptic.check_images import check_panoptic_images
from convnext_dense.data.panoptic.fit_config import (
    DATASET,
    fit_to_panoptic,
    panoptic_datasets,
    remarks_on,
)
from convnext_dense.data.panoptic.prepare import prepare_panoptic
from convnext_dense.errors import UserError


class PanopticTask(AnnotatedTask):
    """Panoptic segmentation."""

    name = "panoptic"
    unit = "segments"
    unused = "no thing, no annotation"
    entries = ("segments_info", "category", "is_crowd")
    no_views = (
        "views of an image cannot be merged for a panoptic model: its segments cover the image "
        "without overlapping, and no rule says which segments of two views are one: leave it out"
    )

    def datasets(self, cfg: Any, split: str) -> list[Any]:
        """Datasets with a panoptic file."""
        return panoptic_datasets(cfg, split)

    def prepare_own_data(self, own_data: Any) -> Any:
        """See :func:`convnext_dense.data.panoptic.prepare.prepare_panoptic`."""
        return prepare_panoptic(own_data)

    def use_own_data(
        self, dataset: Any, images: str, truth: str, own_data: Any, options: Mapping[str, Any]
    ) -> None:
        """A panoptic file, the folder of its images and that of its PNGs."""
        file = os.path.abspath(os.path.join(dataset.data_root, truth))
        prefix = dict(img=images, seg=os.path.abspath(own_data.segments[file]))
        dataset.update(type=DATASET, ann_file=truth, data_prefix=prefix)

    def fit_config(
        self, cfg: Any, splits: Sequence[str], classes: tuple[str, ...] | None = None
    ) -> None:
        """See :func:`convnext_dense.data.panoptic.fit_config.fit_to_panoptic`."""
        fit_to_panoptic(cfg, tuple(splits), classes)

    def assume_classes(self, cfg: Any) -> None:
        """COCO's 80 things and 53 stuff."""
        assume_num_classes(cfg.model, COCO_THINGS, COCO_STUFF)

    def fit_to_checkpoint(
        self,
        cfg: Any,
        content: Mapping[str, Any],
        source: str,
        classes: tuple[str, ...] | None = None,
    ) -> None:
        """Sets the numbers of things and stuff.

        Raises:
            UserError: For a checkpoint that does not say which of its classes are things.
        """
        if classes is None:
            return
        meta = (content.get("meta") or {}).get("dataset_meta") or {}
        if "thing_classes" not in meta:
            raise UserError(
                f"{source} does not say which of its classes are things: give a checkpoint of a "
                "training of this project."
            )
        things = len(meta["thing_classes"])
        set_num_classes(cfg.model, things, source, stuff=len(classes) - things)

    def file_names(self, dataset: Any) -> Sequence[str]:
        """Those of a panoptic file."""
        return [image.file_name for image in read_panoptic(annotation_path(dataset)).images]

    def count_used(self, dataset: Any, classes: tuple[str, ...]) -> Mapping[str, int]:
        """Segments of images with a thing that are large enough."""
        summary = read_panoptic(annotation_path(dataset))
        images = trained_images(summary, classes, dataset.get("filter_cfg"))
        return count_segments(images, classes)

    def check_images(self, cfg: Any, dataset: Any, every: bool, training: bool) -> list[Any]:
        """See :func:`convnext_dense.data.panoptic.check_images.check_panoptic_images`."""
        return check_panoptic_images(cfg, dataset, every)

    def remarks(self, cfg: Any, split: str, opened: Sequence[Any]) -> list[str]:
        """Of the annotation files and their classes."""
        return remarks_on(cfg, split)

    def describe_dataset(self, dataset: Any) -> str:
        """Counts of the annotation file."""
        summary = read_panoptic(annotation_path(dataset))
        return (
            f"{len(summary.images):,} images, {summary.num_segments:,} segments of "
            f"{len(summary.things)} things and {len(summary.stuff)} stuff: {summary.path}"
        )

    def data_browser(self) -> Any:
        """Segments over images."""
        from convnext_dense.panoptic.browser import BROWSER  # needs matplotlib

        return BROWSER

    def draw_result(self, visualizer: Any, name: str, sample: Any, step: int) -> None:
        """The true segments on the left, the found ones on the right."""
        from convnext_dense.panoptic.draw_results import draw_pair  # needs matplotlib

        visualizer.add_image(name, draw_pair(visualizer, sample), step)


TASK = PanopticTask()
