"""Objects of a detector's annotations drawn into label images, for a segmentor."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from convnext_dense.atomic_files import (
    ROOM,
    explaining_full_disks,
    make_folder,
    replacing,
    wait_for,
    write_once,
)
from convnext_dense.data.coco.prepare import prepare_detection
from convnext_dense.data.formats.drawn_labels import BACKGROUND, draw_labels
from convnext_dense.data.labels.fit_config import CLASS_FILE, check_names
from convnext_dense.data.layouts.layout import Meaning, Pair
from convnext_dense.data.layouts.pairs_file import write_pairs
from convnext_dense.data.own.own_data import OwnData
from convnext_dense.data.own.splitting import digest
from convnext_dense.data.text_files import read_json
from convnext_dense.errors import UserError
from convnext_dense.runs.progress import new_progress

LABELS = "labels"  # folder
RULES = 1  # of drawing: another number draws labels of earlier runs again
SHOWN = 5


def prepare_drawn_labels(own: OwnData) -> OwnData:
    """A detector's annotations as label images and files of pairs, in ``own.folder``.

    The annotations are mended and divided as a detector's are.

    Raises:
        UserError: For annotations that cannot be read, objects without a mask, or a category that
            the training data lack.
    """
    classes = own.trained
    objects = classes[1:] if classes and classes[0] == BACKGROUND else classes
    sources = prepare_detection(replace(own, trained=objects)).sources
    drawn: dict[Path, tuple[Path, Path]] = {}
    for split in sorted(own.splits, key=("train", "val", "test").index):
        images, file = sources[split]
        if file not in drawn:
            pairs, meaning = render(own, file, images, split, classes)
            classes = meaning.classes
            root = Path(os.path.commonpath([image.parent for image, _ in pairs]))
            path = own.folder / f"{split}_pairs.json"
            write_pairs(path, root, pairs, meaning, own.is_first)
            drawn[file] = (root, path)
        sources[split] = drawn[file]
    if own.is_first:
        print(
            f"Objects are drawn into label images in {own.folder / LABELS}: {len(classes)} "
            f"classes, {BACKGROUND} first; the smaller object is on top, crowds are ignored."
        )
    return replace(own, task=None, sources=sources)


def render(
    own: OwnData, file: Path, folder: Path, split: str, classes: Sequence[str] | None = None
) -> tuple[list[Pair], Meaning]:
    """Draws a label image for each image of a COCO file into ``own.folder``.

    Labels that were drawn of the same annotations are used again.

    Args:
        own: Says where labels go, and which process draws them.
        file: The annotations.
        folder: What image names are relative to.
        split: The sub-folder of the labels.
        classes: The class names of the training data, for a validation split.

    Returns:
        Pairs of images and labels, and the classes.

    Raises:
        UserError: For objects without a mask, or a category that the training data lack.
    """
    content = {"annotations": [], **read_json(file)}
    names = _class_names(content, file, classes)
    _refuse_boxes(content, file)
    place = own.folder / LABELS / split
    images = {entry["id"]: Path(folder, entry["file_name"]) for entry in content["images"]}
    images = {number: Path(os.path.abspath(path)) for number, path in images.items()}
    root = Path(os.path.commonpath([path.parent for path in images.values()]))
    labels = {n: place / f"{path.relative_to(root).as_posix()}.png" for n, path in images.items()}
    record = place / "drawn.json"
    made_of = json.dumps(dict(made_of=digest(json.dumps([RULES, names, content]))))
    if not own.is_first:
        wait_for(record, made_of)
    elif not (_holds(record, made_of) and all(path.is_file() for path in labels.values())):
        record.unlink(missing_ok=True)
        with explaining_full_disks(str(place), ROOM):
            _draw_all(content, labels, names)
        write_once(own.folder / LABELS / CLASS_FILE, "".join(f"{name}\n" for name in names))
        write_once(record, made_of)
    pairs = [(images[number], labels[number]) for number in images]
    return pairs, Meaning(names, source=f"{file}, drawn into label images")


def _class_names(content: Mapping, source: Path, classes: Sequence[str] | None) -> tuple[str, ...]:
    """Background first, then the categories in the file's order."""
    found = [str(category["name"]) for category in content["categories"]]
    names = tuple(dict.fromkeys([BACKGROUND, *found])) if classes is None else tuple(classes)
    unknown = [name for name in found if name not in names]
    if unknown:
        raise UserError(
            f"{source} has the category {unknown[0]!r}, which the training data lack "
            f"({', '.join(names)}): give both the same categories."
        )
    check_names(names, str(source))
    return names


def _refuse_boxes(content: Mapping, source: Path) -> None:
    """Boxes do not say which pixels are the object's."""
    without = [entry for entry in content["annotations"] if not entry.get("segmentation")]
    if without:
        shown = ", ".join(str(entry.get("id")) for entry in without[:SHOWN])
        raise UserError(
            f"{len(without)} of {len(content['annotations'])} annotations of {source} have no mask "
            f"(ids {shown}{' ...' if len(without) > SHOWN else ''}), and a box does not say which "
            "pixels are the object's: outline them, or train a detector."
        )


def _draw_all(content: Mapping, labels: Mapping[int, Path], names: Sequence[str]) -> None:
    """Draws and writes all label images."""
    objects: dict[int, list[Mapping]] = {number: [] for number in labels}
    for entry in content["annotations"]:
        objects[entry["image_id"]].append(entry)
    numbers = {one["id"]: names.index(str(one["name"])) for one in content["categories"]}
    with new_progress() as progress:
        task = progress.add_task("drawing labels", total=len(labels), figures="")
        for image in content["images"]:
            drawn = draw_labels(
                [(entry, numbers[entry["category_id"]]) for entry in objects[image["id"]]],
                (image["width"], image["height"]),
            )
            path = labels[image["id"]]
            make_folder(path.parent)
            with replacing(path, suffix=".png") as temporary:
                Image.fromarray(drawn).save(temporary)
            progress.advance(task)


def _holds(record: Path, text: str) -> bool:
    return record.is_file() and record.read_text(encoding="utf-8") == text
