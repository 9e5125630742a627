"""Objects of a detector's annotations drawn into label images, for a segmentor."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from convnext_dense.atomic_files import make_folder, replacing, write_atomically
from convnext_dense.data.formats.geometry import segmentation_mask
from convnext_dense.data.formats.reading import ReadData
from convnext_dense.data.labels.fit_config import check_names
from convnext_dense.data.layouts.layout import Meaning, Pair
from convnext_dense.data.splitting import digest
from convnext_dense.errors import UserError
from convnext_dense.runs.progress import new_progress

BACKGROUND = "background"
IGNORED = 255
RULES = 1  # of drawing: another number draws labels of earlier runs again
SHOWN = 5


def render(
    data: ReadData, source: Path, folder: Path, classes: Sequence[str] | None = None
) -> tuple[list[Pair], Meaning]:
    """Draws a label image for each image: the background is class 0, the categories follow.

    Where objects overlap, the smaller one is on top; crowds are ignored. Labels that were drawn of
    the same annotations are used again.

    Args:
        data: The annotations.
        source: Where they were read, for messages.
        folder: Where the labels go.
        classes: The class names of the training data, for a validation split.

    Returns:
        Pairs of images and labels, and the classes.

    Raises:
        UserError: For objects without a mask, or a category that the training data lack.
    """
    content = data.content
    names = _class_names(content, source, classes)
    _refuse_boxes(content, source)
    images = {entry["id"]: _image_path(entry, data) for entry in content["images"]}
    root = Path(os.path.commonpath([path.parent for path in images.values()]))
    labels = {
        number: folder / f"{path.relative_to(root).as_posix()}.png"
        for number, path in images.items()
    }
    record, made_of = folder / "drawn.json", digest(json.dumps([RULES, names, content]))
    if not (_was_drawn(record, made_of) and all(path.is_file() for path in labels.values())):
        record.unlink(missing_ok=True)
        _draw_all(content, labels, {name: label for label, name in enumerate(names)})
        write_atomically(record, json.dumps(dict(made_of=made_of)))
    pairs = [(images[number], labels[number]) for number in images]
    return pairs, Meaning(names, source=f"{source}, drawn into label images")


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


def _draw_all(content: Mapping, labels: Mapping[int, Path], numbers: Mapping[str, int]) -> None:
    objects: dict[int, list[Mapping]] = {number: [] for number in labels}
    for entry in content["annotations"]:
        if entry["image_id"] in objects:
            objects[entry["image_id"]].append(entry)
    names = {category["id"]: str(category["name"]) for category in content["categories"]}
    with new_progress() as progress:
        task = progress.add_task("drawing labels", total=len(labels), figures="")
        for image in content["images"]:
            label = draw(
                [(entry, numbers[names[entry["category_id"]]]) for entry in objects[image["id"]]],
                (image["width"], image["height"]),
            )
            path = labels[image["id"]]
            make_folder(path.parent)
            with replacing(path, suffix=".png") as temporary:
                Image.fromarray(label).save(temporary)
            progress.advance(task)


def draw(objects: Sequence[tuple[Mapping, int]], size: tuple[int, int]) -> np.ndarray:
    """The label image (height, width), uint8, of objects and their labels; 0 elsewhere.

    Args:
        objects: Annotations in COCO's form, each with its label.
        size: Width and height of the image.
    """
    masks = [
        (segmentation_mask(entry["segmentation"], size) > 0, entry, label)
        for entry, label in objects
    ]
    order = sorted(masks, key=lambda one: (not one[1].get("iscrowd"), -int(one[0].sum())))
    canvas = np.zeros(size[::-1], np.uint8)
    for mask, entry, label in order:  # crowds first, large before small
        canvas[mask] = IGNORED if entry.get("iscrowd") else label
    return canvas


def _was_drawn(record: Path, made_of: str) -> bool:
    try:
        return json.loads(record.read_text(encoding="utf-8"))["made_of"] == made_of
    except (OSError, ValueError, KeyError):
        return False


def _image_path(entry: Mapping, data: ReadData) -> Path:
    path = Path(data.folder or "", str(entry["file_name"])).absolute()
    if not path.is_file():
        raise UserError(f"There is no image {path}: name the folder of the images with --images.")
    return path
