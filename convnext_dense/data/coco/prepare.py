"""A detector's own data as its dataset reads it: converted, mended, divided, written down."""

import json
import os
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from convnext_dense.atomic_files import wait_for, write_once
from convnext_dense.data.coco.check_entries import check_coco
from convnext_dense.data.coco.explain_sizes import explain_misfit
from convnext_dense.data.coco.find_images import check_images_exist
from convnext_dense.data.coco.findings import DoesNotFit
from convnext_dense.data.mending.draft import Row, row
from convnext_dense.data.mending.mend import format_mended, mend, refuse_mended
from convnext_dense.data.own.own_data import DETECTION, OwnData
from convnext_dense.data.own.split_file import SPLIT_FILE, refuse_own_split, settle_split
from convnext_dense.data.own.splitting import remark_split
from convnext_dense.data.text_files import read_json
from convnext_dense.errors import UserError

HELP = "name it with --val-data, or take a share of the training data by --split 0.2"


@dataclass(frozen=True)
class Source:
    """Annotations of one split, on their way to a file that the dataset reads.

    Attributes:
        name: Where they come from, for messages.
        content: In COCO's form.
        images: The folder that image names are relative to; None where they are full paths.
        file: The file that holds just this content; None where there is none yet.
        rows: What was mended.
    """

    name: str
    content: dict
    images: Path | None
    file: Path | None
    rows: tuple[Row, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Its class names, in their order."""
        return tuple(category["name"] for category in self.content["categories"])


def prepare_detection(own_data: OwnData) -> OwnData:
    """Makes files of a detector's data that its dataset can read, where the user's are none.

    A sound COCO file is used as it is. All else is written into ``own_data.folder``, by the first
    process; the others wait for it.

    Args:
        own_data: The data that the flags name. Without a folder, COCO files are used as they are.

    Returns:
        The same with a folder of images and a COCO file for each of its splits.

    Raises:
        UserError: For data that cannot be read, whose meaning would be a guess, or that lacks a
            split.
    """
    _refuse_flags_of_segmentation(own_data)
    is_used_as_it_is = own_data.task == DETECTION and own_data.val_share is None
    if own_data.folder is None and is_used_as_it_is and not own_data.boxes:
        return own_data
    if own_data.folder is None:
        raise UserError("--train-data, --val-data, --split and --boxes need a folder to write to.")
    made: dict[str, Source] = {}
    classes = own_data.trained
    evaluated = [split for split in own_data.splits if split != "train"]
    if "train" in own_data.splits:
        made["train"] = _settle(own_data, _read(own_data, "train"), classes)
        classes = made["train"].classes
    if own_data.val_share is not None:
        _refuse_own_split(own_data)
        made["train"], made["val"] = _divide(own_data, made["train"])
    elif evaluated:
        made["val"] = _settle(own_data, _read_validation(own_data, evaluated, classes), classes)
    written = {split: _write(own_data, source, split) for split, source in made.items()}
    sources = {split: written["train" if split == "train" else "val"] for split in own_data.splits}
    return replace(own_data, task=DETECTION, sources=sources)


def _read(own_data: OwnData, split: str, classes: tuple[str, ...] | None = None) -> Source:
    images, path = own_data.sources[split]
    if own_data.task == DETECTION:
        return Source(str(path), read_json(path), images, path)
    return _read_any(own_data, "train" if split == "train" else "val", images, path, classes)


def _read_validation(
    own_data: OwnData, evaluated: list[str], classes: tuple[str, ...] | None
) -> Source:
    """The validation data: named by itself, or the validation split in the training data."""
    named = next((split for split in evaluated if split in own_data.sources), None)
    if named is not None:
        return _read(own_data, named, classes)
    images, path = own_data.sources["train"]
    return _read_any(own_data, "val", images, path, classes, own_split=True)


def _read_any(
    own_data: OwnData,
    split: str,
    images: Path | None,
    path: Path,
    classes: tuple[str, ...] | None,
    own_split: bool = False,
) -> Source:
    """A split of data in any format.

    Args:
        own_data, split, images, path, classes: See :func:`_read`.
        own_split: Whether only a split that the data themselves name will do.
    """
    from convnext_dense.data.formats.reading import NoSplit, own_splits, read

    try:
        if own_split and not own_splits(path, own_data.data_format):
            raise UserError(f"{path} has no validation split of its own: {HELP}.")
        found = read(path, split, own_data.data_format, images, classes)
    except NoSplit as error:
        raise UserError(f"{str(error).rstrip('.')}: {HELP}.") from error
    if own_data.is_first:
        for remark in found.remarks:
            print(f"{path}: {remark}")
    whole = path if path.is_file() and found.format == "coco" else None
    if found.folder is not None:
        _name_relative(found.content, found.folder)
    return Source(str(path), found.content, found.folder, whole)


def _refuse_own_split(own_data: OwnData) -> None:
    """Refuses ``--split`` beside a validation split in the training data."""
    from convnext_dense.data.formats.reading import own_splits

    _, path = own_data.sources["train"]
    if own_data.task != DETECTION and "val" in own_splits(path, own_data.data_format):
        refuse_own_split(path)


def _name_relative(content: dict, folder: Path) -> None:
    """Names the images of a COCO file relative to their folder again."""
    start = os.path.join(folder.absolute(), "")
    for image in content["images"]:
        if isinstance(image, dict) and isinstance(image.get("file_name"), str):
            image["file_name"] = image["file_name"].removeprefix(start)


def _settle(own_data: OwnData, source: Source, classes: tuple[str, ...] | None) -> Source:
    """Mends a source and checks what is left, as the user's file and not as a copy of it."""
    mended = mend(source.content, source.name, source.images, classes)
    if own_data.strict:
        refuse_mended(source.name, mended.rows)
    content, folder = mended.content, str(source.images or "")
    rows = list(mended.rows)
    if own_data.boxes:
        content, left_out = _boxes_alone(content)
        rows += left_out
    try:
        check_coco(source.name, {"annotations": [], **content})
    except DoesNotFit as error:
        raise explain_misfit(error, source.name, folder) from error
    names = [image["file_name"] for image in content["images"]]
    check_images_exist(source.name, folder, names)
    file = None if rows else source.file
    return replace(source, content=content, file=file, rows=tuple(rows))


def _boxes_alone(content: dict) -> tuple[dict, list[Row]]:
    """The content without masks, and the line about them; itself where it has none."""
    with_mask = [one for one in content.get("annotations", ()) if "segmentation" in one]
    if not with_mask:
        return content, []
    boxes = [
        {key: value for key, value in one.items() if key != "segmentation"}
        for one in content["annotations"]
    ]
    left_out = row("masks: left out by --boxes", [f"annotation {o['id']}" for o in with_mask])
    return content | dict(annotations=boxes), left_out


def _divide(own_data: OwnData, source: Source) -> tuple[Source, Source]:
    """Training and validation side of the training data."""
    content, path = source.content, own_data.folder / SPLIT_FILE
    named = {category["id"]: category["name"] for category in content["categories"]}
    found = defaultdict(set)
    for annotation in content["annotations"]:
        found[annotation["image_id"]].add(named[annotation["category_id"]])
    names = [image["file_name"] for image in content["images"]]
    labels = [found[image["id"]] for image in content["images"]]
    sides = settle_split(
        path, names, labels, own_data.val_share, own_data.seed, own_data.group_by,
        own_data.resume, own_data.is_first,
    )  # fmt: skip
    if own_data.is_first:
        counts = " and ".join(f"{len(side):,}" for side in sides)
        print(
            f"--split {own_data.val_share:g}: {counts} images for training and validation, written "
            f"down in {path}"
        )
        print("".join(f"{remark}\n" for remark in remark_split(names, labels, sides[1])), end="")
    train, val = (replace(source, content=_part(content, set(side)), file=None) for side in sides)
    return train, replace(val, rows=())


def _part(content: dict, names: set[str]) -> dict:
    images = [image for image in content["images"] if image["file_name"] in names]
    ids = {image["id"] for image in images}
    annotations = [one for one in content["annotations"] if one["image_id"] in ids]
    return content | dict(images=images, annotations=annotations)


def _write(own_data: OwnData, source: Source, split: str) -> tuple[Path, Path]:
    """The folder of images and the COCO file of a source; writes the file where there is none."""
    images, content = source.images, source.content
    if source.file is not None:
        return images, source.file
    if images is None:
        names = [image["file_name"] for image in content["images"]]
        images = Path(os.path.commonpath([os.path.dirname(name) for name in names]))
        renamed = [
            image | dict(file_name=os.path.relpath(image["file_name"], images))
            for image in content["images"]
        ]
        content = content | dict(images=renamed)
    path = own_data.folder / f"{split}.json"
    if own_data.is_first:
        write_once(path, json.dumps(content))
        if source.rows:
            print(format_mended(source.name, source.rows, path))
    else:
        wait_for(path, json.dumps(content))
    return images, path


def _refuse_flags_of_segmentation(own_data: OwnData) -> None:
    for value, flag in (
        (own_data.classes, "--classes"),
        (own_data.reduce_zero_label, "--reduce-zero-label"),
        (own_data.mask_values, "--mask-values"),
        (own_data.palette, "--palette"),
        (own_data.lists, "--train-list and --val-list"),
    ):
        if value:
            raise UserError(
                f"{flag} belongs to segmentation: the classes and images of a detector are those "
                "of its annotations (a part for validation: --split 0.2)."
            )
