"""The embedded data: one set of drawn images for all tasks, made from a seed on first use.

`prepare_shapes(data_root)` leaves this folder behind, and finds it there the next time:

    shapes/
      train/000001.jpg ...  val/              images of one to six shapes, about 192 x 192; a few
                                              hold none
      annotations/instances_{train,val}.json  detection and instance segmentation, COCO format
      labels/{train,val}/000001.png           semantic segmentation, an index a pixel
      annotations/panoptic_{train,val}.json   panoptic segmentation (see shapes/panoptic.py)
      classes.txt                             the names of the indices, one a line, background first
      cls/{train,val}/<class>/0001.jpg        classification, one shape an image, 64 x 64
      dataset.json                            the stamp: which set this is

Masks, boxes and areas are those of what is seen, and the index of a class in the labels is its
category id in the annotations.
"""

import json
import shutil
import uuid
from pathlib import Path

import cv2
import numpy as np

from convnext_dense.data.shapes.drawing import CLASSES, DrawnImage, draw_image
from convnext_dense.data.shapes.panoptic import add_panoptic
from convnext_dense.errors import UserError

__all__ = ["CLASSES", "prepare_shapes"]

VERSION = 1  # of what is drawn and how it is written: raise it with every change of either
STAMP = "dataset.json"
SPLITS = ("train", "val")
EMPTY_EVERY = 20  # the last of every so many images holds no shape
VISIBLE = 0.75  # part of every shape that later shapes and the border leave to be seen


def prepare_shapes(
    data_root: str | Path,
    seed: int = 0,
    *,
    train: int = 400,
    val: int = 100,
    cls_train: int = 100,
    cls_val: int = 25,
) -> Path:
    """Finds the set in `data_root`/shapes, or draws it there (about 10 s on one core).

    A set is drawn beside its place and renamed at the end: a killed process leaves nothing half
    done in `shapes`, and of several at once the first to end provides the set of all. An image
    depends on the seed, its split and its number alone, not on the counts. The bytes are the same
    wherever OpenCV and NumPy are; other releases of theirs may draw an outline's pixels otherwise.

    Args:
        data_root: the folder that holds all datasets; made where it is missing.
        seed: not negative.
        train: number of images to train detection and segmentation on.
        val: number of images to validate them on.
        cls_train: number of images of each class to train classification on.
        cls_val: number of images of each class to validate it on.

    Returns:
        `data_root`/shapes.

    Raises:
        UserError: another set is there, the folder cannot be written, or a count is below one.
    """
    counts = {"train": train, "val": val, "cls_train": cls_train, "cls_val": cls_val}
    if seed < 0 or min(counts.values()) < 1:
        raise UserError(
            f"the embedded data needs a seed >= 0 and counts >= 1, not seed={seed}, {counts}."
        )
    folder = Path(data_root) / "shapes"
    stamp = {"version": VERSION, "seed": seed, **counts}
    try:
        if not _is_drawn(folder, stamp):
            _draw(folder, stamp)
    except OSError as error:
        raise UserError(
            f"the embedded data cannot be read from or written to '{folder}' "
            f"({error.strerror or error}): mend that, or choose another data root."
        ) from error
    return folder


def _is_drawn(folder: Path, stamp: dict[str, int]) -> bool:
    """Whether the set of this stamp is in `folder`; UserError where anything else is."""
    if not folder.exists():
        return False
    try:
        found = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise UserError(
            f"'{folder}' is no dataset drawn by this project, for it has no readable {STAMP}: "
            "move it away, or choose another data root."
        ) from error
    if found != stamp:
        raise UserError(
            f"'{folder}' holds the dataset {found}, but {stamp} is asked for: "
            "remove that folder to have it drawn anew, or choose another data root."
        )
    return True


def _draw(folder: Path, stamp: dict[str, int]) -> None:
    """Draws the set in a draft beside `folder`, then renames the draft to `folder`."""
    # Not by tempfile.mkdtemp: the set would stay closed to all other users.
    draft = folder.with_name(f".shapes-{uuid.uuid4().hex}")
    try:
        draft.mkdir(parents=True)
        for split in SPLITS:
            _write_scenes(draft, split, stamp["seed"], stamp[split])
            add_panoptic(draft, split)
            _write_singles(draft, split, stamp["seed"], stamp[f"cls_{split}"])
        names = "\n".join(["background", *CLASSES])
        (draft / "classes.txt").write_text(names + "\n", encoding="utf-8")
        (draft / STAMP).write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
        try:
            draft.rename(folder)
        except OSError:
            # Another process that drew at the same time may have been first: its set is as good.
            if not _is_drawn(folder, stamp):
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_scenes(root: Path, split: str, seed: int, count: int) -> None:
    """Writes one split's images, its annotation file and its semantic labels."""
    image_folder, labels = _folder(root / split), _folder(root / "labels" / split)
    images, annotations = [], []
    for number in range(1, count + 1):
        drawn_image = _scene(seed, split, number)
        name = f"{number:06d}"
        _write_image(image_folder / f"{name}.jpg", drawn_image.image)
        # The ground has label 0, a shape the label of its class.
        table = np.array([0, *(index + 1 for index in drawn_image.classes)], np.uint8)
        _write_image(labels / f"{name}.png", table[drawn_image.owner])
        height, width = drawn_image.owner.shape
        images.append({"id": number, "file_name": f"{name}.jpg", "width": width, "height": height})
        annotations += _annotations(drawn_image, number, len(annotations) + 1)
    content = {
        "info": {"description": "convnext_dense shapes", "version": str(VERSION)},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": index, "name": name, "supercategory": "shape"}
            for index, name in enumerate(CLASSES, start=1)
        ],
    }
    path = _folder(root / "annotations") / f"instances_{split}.json"
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_singles(root: Path, split: str, seed: int, count: int) -> None:
    """Writes one split's class folders."""
    for index, name in enumerate(CLASSES):
        folder = _folder(root / "cls" / split / name)
        for number in range(1, count + 1):
            rng = np.random.default_rng([seed, 1, SPLITS.index(split), index, number])
            drawn_image = draw_image(rng, (64, 64), [index], radii=(14, 30), visible=0.9)
            _write_image(folder / f"{number:04d}.jpg", drawn_image.image)


def _scene(seed: int, split: str, number: int) -> DrawnImage:
    """Draws one image of none to six shapes; the classes take turns in being there for sure."""
    rng = np.random.default_rng([seed, 0, SPLITS.index(split), number])
    height, width = (int(side) for side in rng.integers(160, 225, size=2))
    others = rng.integers(len(CLASSES), size=rng.integers(6)).tolist()
    classes = [] if number % EMPTY_EVERY == 0 else [number % len(CLASSES), *others]
    return draw_image(rng, (height, width), classes, radii=(20, 46), visible=VISIBLE)


def _annotations(drawn_image: DrawnImage, image_id: int, first_id: int) -> list[dict]:
    """The shapes of an image as COCO annotations of what is seen of them."""
    annotations = []
    for shape, index in enumerate(drawn_image.classes, start=1):
        mask = drawn_image.owner == shape
        (top, bottom), (left, right) = (
            np.flatnonzero(mask.any(axis=axis))[[0, -1]].tolist() for axis in (1, 0)
        )
        annotations.append(
            {
                "id": first_id + shape - 1,
                "image_id": image_id,
                "category_id": index + 1,
                "segmentation": _run_lengths(mask),
                "area": int(mask.sum()),
                "bbox": [left, top, right - left + 1, bottom - top + 1],
                "iscrowd": 0,
            }
        )
    return annotations


def _run_lengths(mask: np.ndarray) -> dict:
    """COCO's uncompressed run lengths, which can tell a ring from a disc as polygons cannot."""
    # Column by column, beginning with the run of zeros, which may be of length 0.
    pixels = np.concatenate([[False], mask.ravel(order="F")])
    starts = np.flatnonzero(np.diff(pixels))
    return {"size": list(mask.shape), "counts": np.diff([0, *starts, mask.size]).tolist()}


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _write_image(path: Path, image: np.ndarray) -> None:
    # cv2.imwrite reports a full disk by its return value at most: Path raises the OSError.
    _, encoded = cv2.imencode(path.suffix, image)
    path.write_bytes(encoded.tobytes())
