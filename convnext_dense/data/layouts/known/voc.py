"""Pascal VOC's layout, also as CVAT ("segmentation mask 1.1") and labelme export it."""

from collections.abc import Mapping
from pathlib import Path

from convnext_dense.data.layouts.known.public import standard_names
from convnext_dense.data.layouts.layout import ALL, Layout, Meaning, Pair, child
from convnext_dense.data.layouts.pairing import images_in, labels_in, pair_names
from convnext_dense.data.layouts.split_lists import choose, read_list
from convnext_dense.errors import UserError

LABEL_FOLDERS = ("SegmentationClass", "SegmentationClassPNG")


def voc(root: Path, partial: bool = False) -> Layout | None:
    """``JPEGImages``, ``SegmentationClass`` (or labelme's ``...PNG``), ``ImageSets/Segmentation``.

    Without split lists, the images that have a label are one whole.

    Args:
        root: The folder.
        partial: Changes nothing: images without a label are left out as it is.

    Raises:
        UserError: Where images are missing, or a list names one that is not there.
    """
    found = [inside for name in LABEL_FOLDERS if (inside := child(root, name))]
    if not found:
        return None
    # labelme before 5.5 writes .npy files into the first and the label images into the second
    labels = next((inside for inside in found if labels_in(inside)), found[0])
    folder = child(root, "JPEGImages", "images")
    if folder is None:
        raise UserError(
            f'{root} has {labels.name} and no JPEGImages: export the images too (CVAT: "Save '
            'images"), or name their folder with --images.'
        )
    there = set(map(_stem, labels_in(labels)))
    pictures = [name for name in images_in(folder) if _stem(name) in there]
    named = pair_names(pictures, labels_in(labels), folder, labels) if pictures else []
    pairs = [(folder / image, labels / label) for image, label in named]
    if not pairs:
        raise UserError(f"{labels} holds no label of an image of {folder} (of the same name).")
    splits, remarks = _divide(root, pairs)
    left = len(images_in(folder)) - len(pairs)
    if left and splits.keys() == {ALL}:
        remarks += (f"{left} images of {folder} have no label in {labels} and are left out.",)
    names = Meaning(standard_names("PascalVOCDataset"), source="Pascal VOC's 21 classes")
    return Layout("voc", splits, names, remarks)


def _divide(root: Path, pairs: list[Pair]) -> tuple[Mapping[str, list[Pair]], tuple[str, ...]]:
    """The pairs of each split list; all of them where there are none (CVAT's ``default.txt``)."""
    sets = child(root, "ImageSets")
    lists = (sets and child(sets, "Segmentation")) or sets or root
    splits = {
        split: choose(pairs, read_list(lists / f"{split}.txt"), lists / f"{split}.txt")
        for split in ("train", "val", "test")
        if (lists / f"{split}.txt").is_file() and lists != root
    }
    if splits:
        return splits, ()
    return {ALL: pairs}, ()


def _stem(name: str) -> str:
    return name[: -len(Path(name).suffix)]
