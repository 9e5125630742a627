"""Layouts of public datasets: Cityscapes, Mapillary Vistas, LoveDA, COCO-stuff, ADE20K.

Class names are those of mmsegmentation's datasets; the tables of values are the datasets' own:
Cityscapes' ``labels.py`` (https://github.com/mcordts/cityscapesScripts), and COCO-stuff's
``labels.txt`` (https://github.com/nightrome/cocostuff), whose pixels hold an id less one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from convnext_dense.data.class_names import dataset_classes
from convnext_dense.data.layouts.layout import (
    ALL,
    Layout,
    Meaning,
    Pair,
    child,
    split_folders,
)
from convnext_dense.data.layouts.pairing import images_in, labels_in, pair_folders
from convnext_dense.data.text_files import read_json
from convnext_dense.errors import UserError

IMAGE, TRAIN_IDS, IDS = "_leftImg8bit", "labelTrainIds", "labelIds"
# Cityscapes: the id of each of the 19 classes of its benchmark, in the order of the classes.
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CITYSCAPES_VALUES = (*range(34), 255)
# COCO: ids of things without annotations; the pixels of COCO-stuff count from 0.
COCO_GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}
IGNORED = 255


def standard_names(kind: str) -> tuple[str, ...]:
    """The class names of one of mmsegmentation's datasets."""
    return tuple(name.strip() for name in dataset_classes({"default_scope": "mmseg"}, kind))


def cityscapes(root: Path, partial: bool = False) -> Layout | None:
    """``leftImg8bit/train/aachen/x_leftImg8bit.png``, ``gtFine/train/aachen/x_gtFine_...png``."""
    images, labels = child(root, "leftImg8bit"), child(root, "gtFine", "gtCoarse")
    if images is None or labels is None:
        return None
    found = split_folders(images)
    found = {split: path for split, path in found.items() if child(labels, path.name) is not None}
    folders = {split: (path, child(labels, path.name)) for split, path in found.items()}
    return cityscapes_of(folders or {ALL: (images, labels)}, partial)


def cityscapes_of(folders: dict[str, tuple[Path, Path]], partial: bool = False) -> Layout | None:
    """Cityscapes' files in folders of each split; None where names are others.

    Raises:
        UserError: For an image without label.
    """
    for kind in (TRAIN_IDS, IDS):
        splits = {split: _cityscapes_pairs(*pair, kind, partial) for split, pair in folders.items()}
        splits = {split: pairs for split, pairs in splits.items() if pairs}
        if splits:
            break
    else:
        return None
    names = standard_names("CityscapesDataset")
    if kind == TRAIN_IDS:
        return Layout("cityscapes", splits, Meaning(names, source="Cityscapes' 19 training ids"))
    table = dict(zip(CITYSCAPES_IDS, names, strict=True))
    values = {value: table.get(value) for value in CITYSCAPES_VALUES}
    meaning = Meaning(names, values=values, source="Cityscapes' table of ids and training ids")
    return Layout("cityscapes", splits, meaning)


def _cityscapes_pairs(images: Path, labels: Path, kind: str, partial: bool) -> list[Pair]:
    """Images with their labels of one kind; none where there is no such label."""
    there = {_base(name, f"_{kind}"): labels / name for name in labels_in(labels)}
    there = {base: path for base, path in there.items() if base is not None}
    bases = {name: _base(name, IMAGE) for name in images_in(images)}
    named = {name: base for name, base in bases.items() if base is not None}
    missing = sorted(name for name, base in named.items() if base not in there)
    if not there or not named or len(missing) == len(named):
        return []
    if missing and not partial:
        raise UserError(
            f"{len(missing)} of {len(named)} images of {images} have no label *_{kind}.png in "
            f"{labels}: {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}: add them, or "
            "name the images to use with --train-list and --val-list."
        )
    return [(images / name, there[base]) for name, base in named.items() if base in there]


def _base(name: str, ending: str) -> str | None:
    """A name without the ending of its kind, such as ``_gtFine_labelIds``; None for others."""
    stem = name[: -len(Path(name).suffix)]
    if not stem.endswith(ending):
        return None
    stem = stem.removesuffix(ending)
    return stem.removesuffix("_gtFine").removesuffix("_gtCoarse")


def mapillary(root: Path, partial: bool = False) -> Layout | None:
    """``training/images`` with ``training/labels`` or ``training/v1.2/labels``; ``config.json``."""
    splits: dict[str, Sequence[Pair]] = {}
    version, remarks = "", ()
    configs = sorted(root.glob("config*.json"))
    for split, folder in split_folders(root).items():
        images = child(folder, "images")
        places = {name: child(folder / name, "labels") for name in ("", "v1.2", "v2.0")}
        places = {name: path for name, path in places.items() if path is not None}
        if images is None or not places or not configs:
            continue
        version = next(iter(places))
        if len(places) > 1:
            remarks = (
                f"Labels of {' and '.join(places)} are there, and those of {version} are used; for "
                "others give --images and --labels.",
            )
        splits[split] = pair_folders(images, places[version], partial=partial)
    if not splits:
        return None
    named = [path for path in configs if version and version in path.name]
    meaning = _mapillary_names((named or configs)[0])
    return Layout("mapillary", splits, meaning, remarks)


def _mapillary_names(config: Path) -> Meaning:
    """The classes of a ``config.json``; those that it does not evaluate are ignored."""
    labels = mapillary_labels(config)
    values = {n: name if label.get("evaluate", True) else None
              for n, (name, label) in enumerate(labels)}  # fmt: skip
    classes = tuple(name for name in values.values() if name is not None)
    return Meaning(classes, values={**values, IGNORED: None}, source=str(config))


def mapillary_labels(config: Path) -> list[tuple[str, Mapping]]:
    """Name and entry of each label of a ``config.json``, in the order of the labels.

    Raises:
        UserError: For another file.
    """
    content = read_json(config)
    labels = content.get("labels") if isinstance(content, dict) else None
    if not labels or not all(isinstance(label, dict) and "name" in label for label in labels):
        raise UserError(f"{config} has no labels with names, as that of Mapillary Vistas has.")
    names = [str(label.get("readable") or label["name"]) for label in labels]
    if len(set(names)) < len(names):
        names = [str(label["name"]) for label in labels]
    return list(zip(names, labels, strict=True))


def loveda(root: Path, partial: bool = False) -> Layout | None:
    """``Train/Urban/images_png`` with ``Train/Urban/masks_png``; 0 is no data, classes from 1."""
    splits: dict[str, list[Pair]] = {}
    for split, folder in split_folders(root).items():
        for area in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
            images, masks = child(area, "images_png"), child(area, "masks_png")
            if images is not None and masks is not None:
                splits.setdefault(split, []).extend(pair_folders(images, masks, partial=partial))
    if not splits:
        return None
    names = standard_names("LoveDADataset")
    return Layout("loveda", splits, Meaning(names, reduce_zero_label=True, source="LoveDA"))


def coco_stuff(root: Path, partial: bool = False) -> Layout | None:
    """``images/train2017`` or ``train2017`` with ``stuffthingmaps/train2017``, or annotations."""
    labels = child(root, "stuffthingmaps", "stuffthingmaps_trainval2017", "annotations")
    images = child(root, "images") or root
    if labels is None:
        return None
    splits, kinds = {}, set()
    for split in ("train", "val"):
        for year in ("2017", "2014"):
            pictures, maps = child(images, split + year), child(labels, split + year)
            names = labels_in(maps) if pictures is not None and maps is not None else []
            if names:
                made = any(name.endswith(f"_{TRAIN_IDS}.png") for name in names)
                suffix = f"_{TRAIN_IDS}.png" if made else None
                splits[split] = pair_folders(pictures, maps, suffix, partial)
                kinds.add(made)
    if not splits:
        return None
    if len(kinds) > 1:
        raise UserError(
            f"{labels} holds *_{TRAIN_IDS}.png for one split only: make them for both, or move "
            "them away."
        )
    names = standard_names("COCOStuffDataset")
    if kinds == {True}:
        return Layout("coco-stuff", splits, Meaning(names, source="COCO-stuff's 171 training ids"))
    ids = [value - 1 for value in range(1, 183) if value not in COCO_GAPS]
    values = {**dict(zip(ids, names, strict=True)), IGNORED: None}
    return Layout("coco-stuff", splits, Meaning(names, values=values, source="COCO-stuff's ids"))


def ade20k(root: Path, partial: bool = False) -> Layout | None:
    """``images/training`` with ``annotations/training`` beside ADE20K's ``objectInfo150.txt``."""
    images, labels = child(root, "images"), child(root, "annotations")
    if images is None or labels is None or not (root / "objectInfo150.txt").is_file():
        return None
    splits = {
        split: pair_folders(folder, labels / folder.name, partial=partial)
        for split, folder in split_folders(images).items()
        if split != "test"
    }
    names = standard_names("ADE20KDataset")
    return Layout("ade20k", splits, Meaning(names, reduce_zero_label=True, source="ADE20K"))
