"""Detection and instance segmentation as a task: COCO files, mmdet's models."""

from collections.abc import Mapping, Sequence
from typing import Any

from convnext_dense.config.reading import add_import
from convnext_dense.data.coco.annotated_task import AnnotatedTask
from convnext_dense.data.coco.annotation_file import count_instances, read_summary
from convnext_dense.data.coco.check_images import check_detection_images
from convnext_dense.data.coco.fit_config import (
    annotation_path,
    coco_datasets,
    fit_to_annotations,
    min_size,
    remarks_on,
)
from convnext_dense.data.coco.mask_branch import drop_mask_branch
from convnext_dense.data.coco.prepare import prepare_detection
from convnext_dense.data.head_classes import COCO_THINGS, assume_num_classes, set_num_classes
from convnext_dense.data.images import read_shown
from convnext_dense.detection.augment.choices import augmentation_steps
from convnext_dense.weights.checkpoints import has_masks


class DetectionTask(AnnotatedTask):
    """Detection with annotation files in COCO's format."""

    name = "detection"
    unit = "instances"
    unused = "no instance"
    entries = ("instances", "bbox_label", "ignore_flag")

    def datasets(self, cfg: Any, split: str) -> list[Any]:
        """Datasets with a COCO file."""
        return coco_datasets(cfg, split)

    def prepare_own_data(self, own_data: Any) -> Any:
        """See :func:`convnext_dense.data.coco.prepare.prepare_detection`."""
        return prepare_detection(own_data)

    def use_own_data(
        self, dataset: Any, images: str, truth: str, own_data: Any, options: Mapping[str, Any]
    ) -> None:
        """A COCO file and the folder of its images."""
        dataset.update(type="CocoDataset", ann_file=truth, data_prefix=dict(img=images))

    def fit_config(
        self, cfg: Any, splits: Sequence[str], classes: tuple[str, ...] | None = None
    ) -> None:
        """See :func:`convnext_dense.data.coco.fit_config.fit_to_annotations`."""
        fit_to_annotations(cfg, tuple(splits), classes)

    def assume_classes(self, cfg: Any) -> None:
        """COCO's 80 classes."""
        assume_num_classes(cfg.model, COCO_THINGS)

    def fit_to_checkpoint(
        self,
        cfg: Any,
        content: Mapping[str, Any],
        source: str,
        classes: tuple[str, ...] | None = None,
    ) -> None:
        """Sets the number of classes, and drops the mask branch that a checkpoint lacks."""
        if classes is not None:
            set_num_classes(cfg.model, len(classes), source)
        if not has_masks(content):
            drop_mask_branch(cfg)

    def file_names(self, dataset: Any) -> Sequence[str]:
        """Those of a COCO file."""
        return read_summary(annotation_path(dataset)).file_names

    def count_used(self, dataset: Any, classes: tuple[str, ...]) -> Mapping[str, int]:
        """Instances of large enough images."""
        summary = read_summary(annotation_path(dataset))
        return count_instances(summary, classes, min_size(dataset))

    def use_channels(self, cfg: Any) -> None:
        """mmdet's hook draws colours alone, too."""
        super().use_channels(cfg)
        drawing = (cfg.get("default_hooks") or {}).get("visualization")
        if drawing and drawing.type == "DetVisualizationHook":
            drawing.type = "AnyChannelsVisualizationHook"

    def augmentation_steps(self, cfg: Any, choice: str) -> list[dict[str, Any]]:
        """See :func:`convnext_dense.detection.augment.choices.augmentation_steps`."""
        add_import(cfg, "convnext_dense.detection.augment.steps")
        return augmentation_steps(cfg, choice)

    def check_images(self, cfg: Any, dataset: Any, every: bool, training: bool) -> list[Any]:
        """See :func:`convnext_dense.data.coco.check_images.check_detection_images`."""
        return check_detection_images(cfg, dataset, every)

    def remarks(self, cfg: Any, split: str, opened: Sequence[Any]) -> list[str]:
        """Of the annotation files, their classes, and what an evaluation counts."""
        return remarks_on(cfg, split)

    def describe_dataset(self, dataset: Any) -> str:
        """Counts of the annotation file."""
        summary = read_summary(annotation_path(dataset))
        return (
            f"{len(summary.file_names):,} images, {summary.num_annotations:,} "
            f"annotations: {summary.path}"
        )

    def data_browser(self) -> Any:
        """Boxes and masks on images."""
        from convnext_dense.detection.browser import BROWSER  # needs matplotlib

        return BROWSER

    def draw_result(self, visualizer: Any, name: str, sample: Any, step: int) -> None:
        """The true boxes and masks on the left, the predicted ones on the right."""
        image = read_shown(sample.img_path)
        visualizer.add_datasample(name, image, sample, step=step)


TASK = DetectionTask()
