"""labelme: a json for each image with its shapes, polygons above all."""

import math
from base64 import b64decode
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convnext_dense.data.formats.content import POINTS, ContentBuilder
from convnext_dense.data.formats.geometry import (
    box_polygon,
    cut_at_edge,
    ellipse_polygon,
    segmentation_mask,
    within_image,
)
from convnext_dense.data.formats.image_files import ImageIndex, refuse_missing
from convnext_dense.data.formats.request import Request
from convnext_dense.data.formats.splits import choose, split_folders
from convnext_dense.data.text_files import read_json
from convnext_dense.errors import UserError

LOOKS_FOR = "json files with shapes and imagePath, one an image (labelme)"
WITHOUT_AREA = ("point", "points", "line", "linestrip")
NEEDED = {"rectangle": 2, "circle": 2, "polygon": POINTS, "mask": 2}  # points at least
TRIED = 20  # files by which a folder is recognised


def fits(path: Path) -> bool:
    """Whether a path is a labelme file, or a folder of some."""
    if path.is_file():
        return path.suffix.lower() == ".json" and is_labelme(read_json(path))
    return _holds(path) or bool(split_folders(path, _holds))


def is_labelme(content: Any) -> bool:
    """Whether the content of a json is labelme's."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def own_splits(path: Path) -> tuple[str, ...]:
    """The splits that folders are named as."""
    return () if path.is_file() or _holds(path) else tuple(split_folders(path, _holds))


def read(request: Request) -> ContentBuilder:
    """The images and objects of a split.

    Raises:
        UserError: Names the file and the shape of what cannot be read.
    """
    path = request.path
    files, folder = [path], path.parent
    if path.is_dir():
        folder = path
        if own := own_splits(path):
            choose(path, request.split, own, f"a folder {request.split}")
            folder = split_folders(path, _holds)[request.split]
        files = sorted(folder.rglob("*.json"))
    parsed = {file: read_json(file) for file in files}
    parsed = {file: content for file, content in parsed.items() if is_labelme(content)}
    if not parsed:
        raise UserError(f"{path} holds no labelme file: a json with shapes and imagePath.")
    builder = ContentBuilder()
    images = _find_images(request, folder, parsed)
    for file, content in parsed.items():
        _add_image(builder, file, content, images[file])
    for file in files:
        if file not in parsed:
            builder.remarks.count("json files are not labelme's and left out", file)
    return builder


def _holds(folder: Path) -> bool:
    """Whether any of the first json files of a folder, or below it, is labelme's."""
    for number, file in enumerate(sorted(folder.rglob("*.json"))):
        if number == TRIED:
            return False
        try:
            if is_labelme(read_json(file)):
                return True
        except UserError:
            continue  # said when it is read
    return False


def _find_images(request: Request, folder: Path, parsed: dict[Path, dict]) -> dict[Path, Path]:
    index = ImageIndex([request.images] if request.images else [folder, folder.parent / "images"])
    found, missing, embedded = {}, [], 0
    for file, content in parsed.items():
        name = str(content.get("imagePath") or file.stem).replace("\\", "/")
        beside = file.parent / name
        image = index.find(name) if request.images or not beside.is_file() else beside
        image = image or index.find(file.stem)
        if image is None:
            missing.append(name)
            embedded += bool(content.get("imageData"))
        found[file] = image
    if embedded:
        raise UserError(
            f"{embedded} of {len(parsed)} labelme files of {folder} hold their image in themselves "
            f"(imageData), and it is not beside them: the first is {missing[0]}. Save the images "
            "as files (labelme_export_json FILE writes img.png), or name their folder with "
            "--images."
        )
    refuse_missing(missing, len(parsed), folder, index.folders)
    return found


def _add_image(builder: ContentBuilder, file: Path, content: dict, path: Path) -> None:
    stated = content.get("imageWidth"), content.get("imageHeight")
    image = builder.add_image(path, stated if all(stated) else None)
    for group in _groups(builder, file, content["shapes"]):
        _add_object(builder, image, group)


def _groups(builder: ContentBuilder, file: Path, shapes: list) -> Iterable[list[dict]]:
    """The shapes of each object: those of one class and ``group_id`` are parts of one."""
    groups: dict[Any, list[dict]] = {}
    for number, shape in enumerate(shapes, start=1):
        where = f"{file}: shape {number}"
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
            raise UserError(f"{where} has no label: write its class there.")
        kind = shape.get("shape_type") or "polygon"
        if kind in WITHOUT_AREA:
            builder.remarks.count(f"shapes of the type {kind} have no area and are left out", where)
            continue
        _check(shape, kind, where)
        group = shape.get("group_id")
        if not isinstance(group, int | str | None):
            raise UserError(f"{where} has the group_id {group!r}, which is no number.")
        key = number if group is None else (shape["label"], group)
        groups.setdefault(key, []).append({**shape, "shape_type": kind, "where": where})
    return groups.values()


def _check(shape: dict, kind: str, where: str) -> None:
    if not isinstance(kind, str) or kind not in NEEDED:
        raise UserError(
            f"{where} has the type {kind!r}, which is not read: {', '.join(NEEDED)} are."
        )
    points = shape.get("points")
    try:
        pairs = np.asarray(points, float)
    except (TypeError, ValueError):
        pairs = np.zeros(0)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.isfinite(pairs).all():
        raise UserError(f"{where} has points that are no list of pairs [x, y] in finite numbers.")
    if len(pairs) < NEEDED[kind]:
        raise UserError(
            f"{where}, a {kind}, has {len(pairs)} points of at least {NEEDED[kind]}: draw it again "
            "or remove it."
        )


def _add_object(builder: ContentBuilder, image: dict, parts: list[dict]) -> None:
    """Adds an object: a box where it is a rectangle alone, else polygons or a mask."""
    name = parts[0]["label"]
    kinds = {part["shape_type"] for part in parts}
    if kinds == {"rectangle"} and len(parts) == 1:
        builder.add_box(image, name, _rectangle(parts[0]), parts[0]["where"])
    elif "mask" in kinds:
        masks = [_mask(part, image) for part in parts]
        builder.add_mask(image, name, np.any(masks, axis=0))
    else:
        size = image["width"], image["height"]
        polygons = [_polygon(part, size) for part in parts]
        builder.add_polygons(image, name, polygons, parts[0]["where"])


def _rectangle(shape: dict) -> list[float]:
    """The box of two corners, in any order, or of four."""
    points = np.asarray(shape["points"], float)
    (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    return [left, top, right - left, bottom - top]


def _polygon(shape: dict, size: tuple[int, int]) -> list[float]:
    """The polygon of a shape within its image of (width, height)."""
    where = shape["where"]
    if shape["shape_type"] == "rectangle":
        return within_image(box_polygon(_rectangle(shape)), size, where)
    points = np.asarray(shape["points"], float)
    if shape["shape_type"] == "circle":  # the centre, and a point of the rim
        radius = math.dist(points[0], points[1])
        return cut_at_edge(ellipse_polygon(*points[0].tolist(), radius, radius), size, where)
    return within_image(points, size, where)


def _mask(shape: dict, image: dict) -> np.ndarray:
    """The mask of a part; labelme keeps the cut of one between its first and last pixel."""
    size = image["width"], image["height"]
    if shape["shape_type"] != "mask":
        return segmentation_mask([_polygon(shape, size)], size) > 0
    try:
        with Image.open(BytesIO(b64decode(shape["mask"], validate=True))) as file:
            cut = np.asarray(file.convert("L")) > 0
    except (KeyError, TypeError, ValueError, OSError, SyntaxError) as error:
        raise UserError(
            f"{shape['where']} has a mask that is no PNG in base64: {error}."
        ) from error
    left, top = (round(value) for value in np.asarray(shape["points"], float).min(0))
    whole = np.zeros(size[::-1], bool)
    bottom, right = top + cut.shape[0], left + cut.shape[1]
    if min(left, top) < 0 or bottom > size[1] or right > size[0]:
        raise UserError(f"{shape['where']} has a mask that reaches outside of its image.")
    whole[top:bottom, left:right] = cut
    return whole
