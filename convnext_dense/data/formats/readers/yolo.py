"""YOLO: a data.yaml that names folders or lists of images, and a text file beside each image."""

import re
from pathlib import Path

from convnext_dense.data.formats.content import ContentBuilder
from convnext_dense.data.formats.image_files import list_images
from convnext_dense.data.formats.readers.yolo_config import (
    YoloConfig,
    find_config,
    find_names,
    places,
    read_config,
    shortened,
)
from convnext_dense.data.formats.readers.yolo_rows import (
    BOX,
    Row,
    read_rows,
    refuse_oriented,
    refuse_other_tasks,
    refuse_pose,
    to_box,
    to_polygon,
)
from convnext_dense.data.formats.readers.yolo_units import refuse_other_units
from convnext_dense.data.formats.request import Request
from convnext_dense.data.formats.splits import choose, split_folders
from convnext_dense.data.images import IMAGE_SUFFIXES
from convnext_dense.data.text_files import read_text
from convnext_dense.errors import UserError

LOOKS_FOR = "a data.yaml with names, or label files (.txt) with class names in classes.txt (YOLO)"
NO_LABELS = ("classes.txt", "notes.txt", "readme.txt", "README.dataset.txt", "README.roboflow.txt")
LAYOUTS = ("", "images")  # folders that hold one for each split


def fits(path: Path) -> bool:
    """Whether a path is a YOLO description, a list of images, or a folder with label files."""
    if path.is_file():
        if path.suffix.lower() == ".txt":
            return find_names(path.parent) is not None
        return find_config(path) is not None
    return find_config(path) is not None or (_has_labels(path) and find_names(path) is not None)


def own_splits(path: Path) -> tuple[str, ...]:
    """The splits that the description names and that are there, or those of the folders."""
    file = find_config(path)
    if file is not None and (config := read_config(file)).entries:
        return tuple(
            split
            for split, entries in config.entries.items()
            if any(place.exists() for entry in entries for place in places(config, entry))
        )
    return tuple(_folders(file.parent if file else path))


def read(request: Request) -> ContentBuilder:
    """The images and objects of a split.

    Raises:
        UserError: Names the file and the line of what cannot be read.
    """
    path = request.path
    file = find_config(path) or find_names(path if path.is_dir() else path.parent)
    if file is None:
        raise UserError(
            f"{path} has no class names: looked for data.yaml, obj.data and classes.txt there, "
            "above, and among the label files. Write the names into classes.txt, one a line, in "
            "the order of the indices."
        )
    config = read_config(file)
    if config.keypoints or config.task == "pose":
        refuse_pose(file, "kpt_shape" if config.keypoints else "task: pose")
    if config.task == "obb" and not request.named:
        refuse_oriented(file, "task: obb")
    builder = ContentBuilder(config.names)
    for line in config.remarks:
        builder.remarks.say(line)
    images = _images(request, config, builder)
    if not images:
        raise UserError(f"{path} has no image ({', '.join(IMAGE_SUFFIXES)}) for {request.split}.")
    named = request.named or config.task in ("segment", "detect")
    _add_objects(builder, images, config, named, path)
    return builder


def _images(request: Request, config: YoloConfig, builder: ContentBuilder) -> list[Path]:
    """The images of a split: of a list, of the description, or of the folder."""
    path = request.path
    if path.suffix.lower() == ".txt":
        return _listed(path, config)
    own = own_splits(path)
    described = find_config(path) is not None and config.entries
    if described:
        if request.split not in config.entries:
            choose(path, request.split, tuple(config.entries), f"the entry {request.split}")
        images = []
        for entry in config.entries[request.split]:
            place = _find(config, entry, request.split, builder)
            images += _listed(place, config) if place.is_file() else list_images(place)
        return list(dict.fromkeys(images))
    folder = config.file.parent if path.is_file() else path
    choose(path, request.split, own, f"a folder of images named {request.split}")
    return list_images(_folders(folder)[request.split] if own else request.images or folder)


def _folders(path: Path) -> dict[str, Path]:
    """Folders of images by split, in a layout without description."""
    for layout in LAYOUTS:
        if found := split_folders(path / layout, _has_images):
            return found
    return {}


def _find(config: YoloConfig, entry: str, split: str, builder: ContentBuilder) -> Path:
    tried = list(dict.fromkeys(places(config, entry)))
    for number, place in enumerate(tried):
        if place.exists():
            if number > (1 if config.root else 0):
                builder.remarks.say(f"{config.file}: {split} is {entry}, found at {place}.")
            return place
    shown = ", ".join(map(str, tried[:4]))
    raise UserError(
        f"{config.file}: {split} is {entry}, which is not there (looked for {shown}): correct the "
        "entry or path, relative to the file."
    )


def _listed(file: Path, config: YoloConfig) -> list[Path]:
    """The images that a text file lists, one a line."""
    found, missing, root = [], [], (config.root or "").replace("\\", "/")
    entries = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    for entry in entries:
        name = entry.replace("\\", "/")
        tried = [
            file.parent / name, config.file.parent / root / name, Path(name),
            *shortened(file.parent, name), *shortened(config.file.parent, name),
        ]  # fmt: skip
        place = next((place for place in tried if place.is_file()), None)
        missing.append(entry) if place is None else found.append(place)
    if missing:
        raise UserError(
            f"{len(missing)} of {len(entries)} images that {file} lists are not there, neither "
            f"below {file.parent} nor {config.file.parent}: {missing[0]}: correct the list."
        )
    return list(dict.fromkeys(found))


def label_file(image: Path) -> Path:
    """The label file of an image: in ``labels`` instead of the last ``images``, or beside it."""
    parts = list(image.absolute().parts)
    for place in range(len(parts) - 2, 0, -1):
        if parts[place] == "images":
            other = Path(*parts[:place], "labels", *parts[place + 1 :]).with_suffix(".txt")
            if other.is_file() or not image.with_suffix(".txt").is_file():
                return other
            break
    return image.with_suffix(".txt")


def _add_objects(
    builder: ContentBuilder, images: list[Path], config: YoloConfig, named: bool, source: Path
) -> None:
    labels = {image: label_file(image) for image in images}
    rows = {
        image: read_rows(file, len(config.names)) if file.is_file() else None
        for image, file in labels.items()
    }
    if all(found is None for found in rows.values()):
        first = next(iter(labels.items()))
        raise UserError(
            f"{source}: none of {len(images)} images has a label file: looked for {first[1]} of "
            f"{first[0]} and so on. Put the labels into a folder labels beside images, or beside "
            "each image."
        )
    every = [row for found in rows.values() for row in found or ()]
    refuse_other_tasks(every, source, named)
    entries = {image: builder.add_image(image) for image in images}
    sized = [
        (row, (entries[image]["width"], entries[image]["height"]))
        for image, found in rows.items()
        for row in found or ()
    ]
    refuse_other_units(sized, source)
    columns = {row.columns > BOX for row in every}
    for image, found in rows.items():
        if found is None:
            builder.remarks.count("images without a label file are images without objects", image)
        entry = entries[image]
        for row in found or ():
            _add_row(builder, entry, config.names[row.index], row)
            if row.columns == BOX and len(columns) > 1:
                builder.remarks.count("rows are boxes among polygons", row.place)
    _count_unused(builder, set(labels.values()))


def _add_row(builder: ContentBuilder, image: dict, name: str, row: Row) -> None:
    size = image["width"], image["height"]
    if row.columns == BOX:
        builder.add_box(image, name, to_box(row, size), row.place)
    else:
        builder.add_polygons(image, name, [to_polygon(row, size)], row.place)


def _count_unused(builder: ContentBuilder, used: set[Path]) -> None:
    for folder in sorted({file.parent for file in used}):
        for file in sorted(folder.glob("*.txt")):
            lists = file.name in NO_LABELS or not re.match(r"\s*\d+(\s|$)", _begin(file))
            if file not in used and not lists:
                builder.remarks.count("label files without an image are not read", file)


def _begin(file: Path) -> str:
    with file.open("rb") as handle:
        return handle.read(32).decode("ascii", "replace")


def _has_images(folder: Path) -> bool:
    return bool(list_images(folder))


def _has_labels(folder: Path) -> bool:
    """Whether any of the first images below a folder has a label file."""
    return any(label_file(image).is_file() for image in list_images(folder)[:100])
