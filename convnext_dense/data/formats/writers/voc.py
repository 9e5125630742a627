"""Pascal VOC: Annotations, JPEGImages, ImageSets, and masks as palette images.

Coordinates are distances from the corner of the image, as annotation tools write them; VOC's own
files count pixels from 1.
"""

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from PIL import Image

from convnext_dense.data.formats.readers.voc_masks import BORDER, voc_palette
from convnext_dense.data.formats.remarks import Remarks
from convnext_dense.data.formats.writers.split import Place, Split, folder_of, object_mask
from convnext_dense.errors import UserError

MASKS = ("SegmentationObject", "SegmentationClass")


def write(folder: Path, splits: dict[str, Split], place: Place, remarks: Remarks) -> None:
    """Writes all splits into one folder."""
    images, xml = folder_of(folder / "JPEGImages"), folder_of(folder / "Annotations")
    classes = next(iter(splits.values())).classes
    (folder / "classes.txt").write_text("".join(f"{c}\n" for c in classes), encoding="utf-8")
    if any(split.has_masks for split in splits.values()) and len(classes) >= BORDER:
        raise UserError(f"VOC's masks hold up to {BORDER - 1} classes, not {len(classes)}.")
    for name, split in splits.items():
        stems, masked = [], []
        for image, new, annotations in split.images:
            stem = Path(new).stem
            place(Path(image["file_name"]), images / new)
            (xml / f"{stem}.xml").write_text(_xml(image, new, annotations), encoding="utf-8")
            stems.append(stem)
            if any(annotation.get("segmentation") for annotation in annotations):
                _write_masks(folder, stem, image, annotations, classes, remarks)
                masked.append(stem)
        for kind, listed in (("Main", stems), ("Segmentation", masked)):
            if listed or kind == "Main":
                path = folder_of(folder / "ImageSets" / kind) / f"{name}.txt"
                path.write_text("".join(f"{stem}\n" for stem in listed), encoding="utf-8")


def _xml(image: dict, name: str, annotations: list[dict]) -> str:
    root = Element("annotation")
    _add(root, folder="JPEGImages", filename=name)
    _add(SubElement(root, "source"), database="convnext_dense")
    _add(SubElement(root, "size"), width=image["width"], height=image["height"], depth=3)
    segmented = any(annotation.get("segmentation") for annotation in annotations)
    _add(root, segmented=int(segmented))
    for annotation in annotations:
        entry = SubElement(root, "object")
        crowd = int(bool(annotation.get("iscrowd")))
        _add(entry, name=annotation["name"], pose="Unspecified", truncated=0, difficult=crowd)
        x, y, width, height = annotation["bbox"]
        _add(SubElement(entry, "bndbox"), xmin=x, ymin=y, xmax=x + width, ymax=y + height)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _add(parent: Element, **entries: object) -> None:
    for tag, value in entries.items():
        whole = isinstance(value, float) and value.is_integer()
        SubElement(parent, tag).text = str(int(value) if whole else value)


def _write_masks(
    folder: Path,
    stem: str,
    image: dict,
    annotations: list[dict],
    classes: tuple[str, ...],
    remarks: Remarks,
) -> None:
    """Draws the objects of an image, the largest first, so that small ones are seen."""
    pixels = np.zeros((2, image["height"], image["width"]), np.uint8)
    masks = {}
    for number, annotation in enumerate(annotations, start=1):
        where = f"annotation {annotation['id']} of {image['file_name']}"
        if not annotation.get("segmentation"):
            remarks.count("objects without a mask are boxes alone", where)
        elif number >= BORDER:
            remarks.count(f"masks are left out: an image has up to {BORDER - 1}", where)
        else:
            masks[number] = object_mask(annotation, image) > 0
    for number, mask in sorted(masks.items(), key=lambda item: -item[1].sum()):
        pixels[:, mask] = [[number], [1 + classes.index(annotations[number - 1]["name"])]]
    for number, mask in masks.items():
        if (pixels[0][mask] != number).any():
            where = f"annotation {annotations[number - 1]['id']} of {image['file_name']}"
            remarks.count("masks lose pixels to smaller ones that lie over them", where)
    for kind, indices in zip(MASKS, pixels, strict=True):
        file = Image.fromarray(indices, "P")
        file.putpalette(voc_palette())
        file.save(folder_of(folder / kind) / f"{stem}.png")
