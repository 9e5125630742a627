"""Label images for semantic segmentation: ``images/SPLIT``, ``labels/SPLIT``, ``classes.txt``."""

from pathlib import Path

from convnext_dense.data.formats.drawn_labels import BACKGROUND, draw_labels
from convnext_dense.data.formats.remarks import Remarks
from convnext_dense.data.formats.writers.split import Place, Split, folder_of
from convnext_dense.data.images import write_image
from convnext_dense.errors import UserError

MOST = 255  # classes: 255 itself is what is ignored


def write(folder: Path, splits: dict[str, Split], place: Place, remarks: Remarks) -> None:
    """Writes all splits; see :func:`draw_labels` for objects that overlap.

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
            objects = [(one, classes.index(one["name"])) for one in annotations]
            pixels = draw_labels(objects, (image["width"], image["height"]))
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
