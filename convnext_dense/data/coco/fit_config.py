"""Fits a detection config to its annotation files: classes, heads and the mask branch.

Class names are stated once, in the annotation file. Reading them here, before anything is built,
also catches what mmdet would drop silently: a misspelt class trains on nothing there.
"""

import os
from collections import Counter

from mmengine.config import Config, ConfigDict

from convnext_dense.config.config_tree import SPLITS, datasets, evaluators
from convnext_dense.data.class_names import remark_absent
from convnext_dense.data.coco.annotation_file import (
    AnnotationSummary,
    check_trainable,
    count_instances,
    read_summary,
)
from convnext_dense.data.coco.compare_classes import (
    check_known,
    check_order,
    check_unknown,
    remark_others,
)
from convnext_dense.data.coco.evaluation_limits import METRIC, remark_limits
from convnext_dense.data.coco.explain_sizes import explain_misfit
from convnext_dense.data.coco.find_images import check_images_exist
from convnext_dense.data.coco.findings import DoesNotFit
from convnext_dense.data.coco.mask_branch import (
    drop_mask_branch,
    evaluate_boxes_only,
    predicts_masks,
    read_what_is_predicted,
)
from convnext_dense.data.head_classes import check_head_weights, set_num_classes
from convnext_dense.data.mending.offer import offering_to_mend


def fit_to_annotations(
    cfg: Config, splits: tuple[str, ...], classes: tuple[str, ...] | None = None
) -> None:
    """Sets classes, ``num_classes`` and the evaluators' annotation files; drops masks if none.

    Args:
        cfg: A config whose datasets have full paths; changed in place.
        splits: The splits whose annotation files are read.
        classes: The class names that a checkpoint was trained with, in its order. By default
            those that the config fixes, else those of the first split's annotation file.

    Raises:
        UserError: For a missing or malformed annotation file, an unknown class name, classes that
            only one of two files has, or heads that were built for another number of classes.
    """
    summaries = {split: [_read(data) for data in coco_datasets(cfg, split)] for split in splits}
    known = [summary for of_one_split in summaries.values() for summary in of_one_split]
    if not known:
        return
    # A trained model's labels keep their order; the loop below checks that the file's is the same.
    chosen = classes or _fixed_classes(cfg)
    classes = classes or _in_file_order(chosen, known[0])
    for split, of_split in summaries.items():
        for dataset, summary in zip(coco_datasets(cfg, split), of_split, strict=True):
            folder = image_folder(dataset)
            with offering_to_mend(summary.path, folder, classes):
                check_images_exist(summary.path, folder, summary.file_names)
                check_known(classes, summary)
                check_order(classes, summary)
            if chosen is None:
                check_unknown(classes, summary, known[0])
            dataset.metainfo = dict(classes=classes)
            if split == "train":
                check_trainable(summary, classes, min_size(dataset))
        _set_evaluator_files(cfg, split, of_split)
    set_num_classes(cfg.model, len(classes), known[0].path)
    check_head_weights(cfg.model, classes)
    _fit_masks(cfg, summaries)


def _read(dataset: ConfigDict) -> AnnotationSummary:
    """A dataset's file; where boxes are outside of their images, the images are asked too."""
    path, folder = annotation_path(dataset), image_folder(dataset)
    with offering_to_mend(path, folder):
        try:
            return read_summary(path)
        except DoesNotFit as error:
            raise explain_misfit(error, path, folder) from error


def _fit_masks(cfg: Config, summaries: dict[str, list[AnnotationSummary]]) -> None:
    """Lets the training files decide the model, and each other file what is evaluated on it.

    A file without annotations says nothing on masks. A trained model keeps its mask branch,
    whatever it is tested on. A model without one reads no masks.
    """
    read_what_is_predicted(cfg)
    if not all(summary.has_masks for summary in summaries.get("train", ()) if summary.annotated):
        drop_mask_branch(cfg)
        return
    for split, found in summaries.items():
        if not all(summary.has_masks for summary in found if summary.annotated):
            evaluate_boxes_only(cfg, (split,))


def remarks_on(cfg: Config, split: str) -> list[str]:
    """What is odd in a split's files but can be trained or evaluated on, a sentence each.

    Args:
        cfg: A config that was fitted to its data.
        split: ``train``, ``val`` or ``test``.
    """
    remarks, instances = [], Counter()
    for dataset in coco_datasets(cfg, split):
        summary, classes = read_summary(annotation_path(dataset)), dataset.metainfo["classes"]
        remarks += [*summary.notes, *remark_others(classes, summary)]
        if split == "train":
            instances.update(count_instances(summary, tuple(classes), min_size(dataset)))
            continue
        remarks += remark_limits(cfg, split, summary, classes)
        if not summary.annotated:
            remarks.append(f"{summary.path} has no annotation: there are no figures on it.")
        elif predicts_masks(cfg.model) and not summary.has_masks:
            remarks.append(f"{summary.path} has no masks: boxes alone are evaluated on it.")
    return [*remarks, *remark_absent(instances, "instance")]


def min_size(dataset: ConfigDict) -> int:
    """Pixels that the shorter side of a training image has at least."""
    return (dataset.get("filter_cfg") or {}).get("min_size", 0)


def annotation_path(dataset: ConfigDict) -> str:
    """Full path of a dataset's annotation file."""
    return os.path.join(dataset.data_root, dataset.ann_file)


def image_folder(dataset: ConfigDict) -> str:
    """Full path of the folder that a dataset's image names are relative to."""
    return os.path.join(dataset.data_root, dataset.get("data_prefix", {}).get("img", ""))


def coco_datasets(cfg: Config, split: str) -> list[ConfigDict]:
    """The datasets of a split that have a COCO annotation file, whatever its name."""
    return [
        data
        for data in datasets(cfg, split)
        if "seg" not in (data.get("data_prefix") or {})  # beside which a panoptic file lies
        and (file := str(data.get("ann_file") or ""))
        and (file.endswith("json") or data.get("type") == "CocoDataset")
    ]


def _fixed_classes(cfg: Config) -> tuple[str, ...] | None:
    for split in SPLITS:
        for data in coco_datasets(cfg, split):
            if "classes" in data.get("metainfo", {}):
                fixed = data.metainfo["classes"]
                return (fixed,) if isinstance(fixed, str) else tuple(fixed)
    return None


def _in_file_order(classes: tuple[str, ...] | None, summary: AnnotationSummary) -> tuple[str, ...]:
    """Labels count the categories in the file's order, whatever order the classes came in."""
    if classes is None:
        return summary.classes
    check_known(classes, summary)
    return tuple(name for name in summary.classes if name in classes)


def _set_evaluator_files(cfg: Config, split: str, found: list[AnnotationSummary]) -> None:
    for evaluator in evaluators(cfg, split):
        if evaluator.get("type") == METRIC and found:
            evaluator.ann_file = found[0].path
