"""Folders of images and of label images, under the names that people give them."""

from pathlib import Path

from convnext_dense.data.layouts.layout import (
    ALL,
    SPLIT_NAMES,
    Layout,
    Pair,
    child,
    split_folders,
)
from convnext_dense.data.layouts.pairing import holds_pairs, labels_in, pair_folders

IMAGES = ("images", "image", "imgs", "img", "img_dir", "JPEGImages", "rgb", "pictures", "inputs")
LABELS = (
    "labels", "label", "masks", "mask", "annotations", "annotation", "ann_dir", "ann", "gt",
    "ground_truth", "groundtruth", "segmentation", "segmentations", "SegmentationClass", "targets",
    "masks_machine",
)  # fmt: skip
LABEL_ENDINGS = ("labels", "label", "masks", "mask", "annotations", "annot", "gt")
Folders = dict[str, tuple[Path, Path]]


def plain(root: Path, partial: bool = False) -> Layout | None:
    """``images/train`` with ``labels/train``, ``train/images`` with ``train/masks``, ``train`` with
    ``train_labels``, ``images`` with ``masks``, or images and labels in one folder.

    Raises:
        UserError: For images without a label, or several labels for each.
    """
    folders = folders_of(root)
    if not folders:
        return None
    splits: dict[str, list[Pair]] = {
        split: pair_folders(images, labels, partial=partial)
        for split, (images, labels) in folders.items()
    }
    return Layout("folders", splits)


def folders_of(root: Path) -> Folders:
    """The folders of images and of labels of each split; nothing where none are recognised."""
    for find in (_kinds_first, _splits_first, _named_alike, _both_in_one):
        found = {split: pair for split, pair in find(root).items() if labels_in(pair[1])}
        if found:
            return found
    return {}


def _kinds_first(root: Path) -> Folders:
    """``images/train`` and ``labels/train``, or ``images`` and ``labels`` of no split."""
    images, labels = child(root, *IMAGES), child(root, *LABELS)
    if images is None or labels is None:
        return {}
    found = {
        split: (folder, child(labels, *SPLIT_NAMES[split]))
        for split, folder in split_folders(images).items()
    }
    found = {split: pair for split, pair in found.items() if pair[1] is not None}
    return found or {ALL: (images, labels)}


def _splits_first(root: Path) -> Folders:
    """``train/images`` and ``train/labels``."""
    found = {
        split: (child(folder, *IMAGES), child(folder, *LABELS))
        for split, folder in split_folders(root).items()
    }
    return {split: pair for split, pair in found.items() if None not in pair}


def _named_alike(root: Path) -> Folders:
    """``train`` and ``train_labels``, ``train_images`` and ``train_masks``, ``trainannot``."""
    found = {}
    for split, names in SPLIT_NAMES.items():
        starts = [name + mark for name in names for mark in ("_", "-", "")]
        images = child(root, *(start + end for end in IMAGES for start in starts), *names)
        labels = child(root, *(start + end for end in LABEL_ENDINGS for start in starts))
        if images is not None and labels is not None:
            found[split] = (images, labels)
    return found


def _both_in_one(root: Path) -> Folders:
    """``train`` with ``a.jpg`` and ``a_mask.png``, or such files in the folder itself."""
    found = {
        split: (path, path) for split, path in split_folders(root).items() if holds_pairs(path)
    }
    if found:
        return found
    return {ALL: (root, root)} if holds_pairs(root) else {}
