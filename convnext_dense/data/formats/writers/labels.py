"""Label images for semantic segmentation: ``images/SPLIT``, ``labels/SPLIT``, ``classes.txt``."""

from pathlib import Path

import numpy as np

from convnext_dense.data.formats.remarks import Remarks
from convnext_dense.data.formats.writers.split import Place, Split, folder_of, object_mask
from convnext_dense.data.images import write_image
from convnext_dense.errors import UserError

BACKGROUND = "background"
MOST = 255  # classes: 255 itself is what is ignored


def write(folder: Path, splits: dict[str, Split], place: Place, remarks: Remarks) -> None:
    """Writes all splits; a pixel of several objects has the class of the smallest.

    Raises:
        UserError: When objects have no masks, or there are too many classes.
    """
    named = next(iter(splits.values())).classes
    classes = tuple(dict.fromkeys((BACKGROUND, *named)))
    if len(classes) > MOST:
        raise UserError(f"Label images hold up to {MOST} classes, not {len(classes)}.")
    _refuse_boxes(splits)
    (folder / "classes.txt").write_text("".join(f"{c}\n" for c in classes), encoding="utf-8")
    for name, split in splits.items():
        images, labels = (folder_of(folder / kind / name) for kind in ("images", "labels"))
        for image, new, annotations in split.images:
            place(Path(image["file_name"]), images / new)
            pixels = _label(image, annotations, classes)
            write_image((labels / new).with_suffix(".png"), pixels)
    remarks.say(f"Pixels of no object have the class {BACKGROUND}, index 0.")


def _refuse_boxes(splits: dict[str, Split]) -> None:
    annotations = [one for split in splits.values() for one in split.content["annotations"]]
    boxes = [annotation for annotation in annotations if not annotation.get("segmentation")]
    if boxes:
        raise UserError(
            f"{len(boxes)} of {len(annotations)} objects have a box and no mask (the first is "
            f"annotation {boxes[0]['id']}), and label images need masks: --to coco, yolo or voc."
        )


def _label(image: dict, annotations: list[dict], classes: tuple[str, ...]) -> np.ndarray:
    pixels = np.zeros((image["height"], image["width"]), np.uint8)
    drawn = [(object_mask(one, image) > 0, one) for one in annotations]
    # Crowds first: they are the ground of the objects in them.
    drawn.sort(key=lambda pair: (not pair[1].get("iscrowd"), -int(pair[0].sum())))
    for mask, annotation in drawn:
        pixels[mask] = classes.index(annotation["name"])
    return pixels
