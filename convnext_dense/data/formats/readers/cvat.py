"""CVAT: the XML "for images" or "for video", version 1.1, of a task or a project."""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from convnext_dense.data.formats.content import POINTS, ContentBuilder
from convnext_dense.data.formats.geometry import (
    box_polygon,
    cut_at_edge,
    ellipse_polygon,
    rotate,
)
from convnext_dense.data.formats.image_files import ImageIndex, refuse_missing
from convnext_dense.data.formats.readers.xml_files import number, read_xml, root_tag, text
from convnext_dense.data.formats.request import Request
from convnext_dense.data.formats.splits import NAMES, choose, split_of
from convnext_dense.errors import UserError

LOOKS_FOR = "annotations.xml with <annotations> (CVAT)"
SHAPES = ("box", "polygon", "mask", "ellipse")
CORNERS = ("xtl", "ytl", "xbr", "ybr")
LEFT_OUT = ("points", "polyline", "cuboid", "skeleton")


def fits(path: Path) -> bool:
    """Whether a path is a CVAT file, or a folder of one."""
    return _file(path) is not None


def own_splits(path: Path) -> tuple[str, ...]:
    """The splits that a project's images are assigned to as ``subset``."""
    file = _file(path)
    if file is None:
        return ()
    found = {split_of(image.get("subset", "")) for image in read_xml(file).iter("image")}
    return tuple(split for split in NAMES if split in found)


def read(request: Request) -> ContentBuilder:
    """The images and objects of a split.

    Raises:
        UserError: Names the file, the image and the shape of what cannot be read.
    """
    file = _file(request.path)
    if file is None:
        raise UserError(f"{request.path} holds no XML file of <annotations>.")
    root = read_xml(file)
    images = list(root.iter("image"))
    own = own_splits(file)
    choose(file, request.split, own, f"images of the subset {request.split}")
    if own:
        images = [one for one in images if split_of(one.get("subset", "")) == request.split]
    tracks = root.findall("track")
    if not images and not tracks:
        raise UserError(f"{file} has no <image> and no <track>: export it as CVAT for images 1.1.")
    builder = ContentBuilder(_labels(root))
    index = ImageIndex(request.image_folders)
    if images:
        _add_images(builder, file, images, index)
    if tracks:
        _add_frames(builder, file, root, index)
    return builder


def _file(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix.lower() == ".xml" and root_tag(path) == "annotations" else None
    found = [file for file in sorted(path.glob("*.xml")) if root_tag(file) == "annotations"]
    if len(found) > 1:
        raise UserError(
            f"{path} has several CVAT files ({', '.join(f.name for f in found)}): name the file "
            "itself in the place of the folder."
        )
    return found[0] if found else None


def _labels(root: Element) -> list[str] | None:
    """The labels of the task, the parts of a skeleton left out; None where there is no list."""
    labels = [label for label in root.iter("label") if label.find("name") is not None]
    names = [text(label, "name") for label in labels if label.find("parent") is None]
    return list(dict.fromkeys(filter(None, names))) or None


def _add_images(
    builder: ContentBuilder, file: Path, images: list[Element], index: ImageIndex
) -> None:
    paths = {image: index.find(image.get("name", "")) for image in images}
    missing = [image.get("name", "") for image in images if paths[image] is None]
    refuse_missing(missing, len(images), file, index.folders)
    for image in images:
        where = f"{file}: image {image.get('name')}"
        stated = tuple(int(number(image.get(side), where)) for side in ("width", "height"))
        entry = builder.add_image(paths[image], stated)
        for place, shape in enumerate(image, start=1):
            _add_shape(builder, entry, shape, shape.get("label"), f"{where}, shape {place}")


def _add_frames(builder: ContentBuilder, file: Path, root: Element, index: ImageIndex) -> None:
    """Adds the frames of a video: every shape is in the file, also those between keyframes."""
    shapes: dict[int, list[tuple[Element, str | None, str]]] = {}
    for track in root.findall("track"):
        track_name = f"{file}: track {track.get('id')}"
        for frame, shape in _shapes_of_track(track, track_name):
            seen = shapes.setdefault(frame, [])
            if shape.get("outside") != "1":
                seen.append((shape, track.get("label"), f"{track_name}, frame {frame}"))
    frames = _frame_images(index)
    if missing := sorted(set(shapes) - set(frames)):
        raise UserError(
            f"{file} is of a video, and {len(missing)} of {len(shapes)} annotated frames are not "
            f"images in or below {', '.join(map(str, index.folders))}, the first is frame "
            f"{missing[0]}: export the task with its images (frame_000000 ...), or name their "
            "folder with --images."
        )
    size = root.find(".//original_size")
    stated = None
    if size is not None:
        stated = tuple(int(number(text(size, s), f"{file}: {s}")) for s in ("width", "height"))
    for frame, path in sorted(frames.items()):
        entry = builder.add_image(path, stated)
        for shape, label, where in shapes.get(frame, ()):
            _add_shape(builder, entry, shape, label, where)


def _shapes_of_track(track: Element, where: str) -> Iterator[tuple[int, Element]]:
    """The shape of each frame; boxes between those of a file that has keyframes alone are made."""
    shapes = sorted(
        (int(number(shape.get("frame"), f"{where}: frame")), place, shape)
        for place, shape in enumerate(track)
        if shape.tag in (*SHAPES, *LEFT_OUT)
    )
    for (frame, _, shape), following in zip_longest(shapes, shapes[1:]):
        yield frame, shape
        if following is None or shape.get("outside") == "1" or following[0] <= frame + 1:
            continue
        if shape.tag != "box" or following[2].tag != "box":
            raise UserError(
                f"{where} has a {shape.tag} in frame {frame} and the next in {following[0]}, and "
                "none between: export it again as CVAT for video 1.1, with all frames."
            )
        yield from _boxes_between(shape, frame, following[2], following[0], where)


def _boxes_between(
    shape: Element, frame: int, following: Element, last: int, where: str
) -> Iterator[tuple[int, Element]]:
    """Boxes that move evenly from one keyframe to the next, as CVAT moves them."""
    start = np.array(list(_corners(shape, where)))
    end = np.array(list(_corners(following, where)))
    for between in range(frame + 1, last):
        corners = start + (end - start) * (between - frame) / (last - frame)
        moved = {key: repr(float(value)) for key, value in zip(CORNERS, corners, strict=True)}
        yield between, Element("box", {**shape.attrib, **moved})


def _frame_images(index: ImageIndex) -> dict[int, Path]:
    """Images whose names end with the number of their frame."""
    found = {}
    for path in index.images:
        digits = path.stem[len(path.stem.rstrip("0123456789")) :]
        if digits:
            found[int(digits)] = path
    return found


def _add_shape(
    builder: ContentBuilder, image: dict, shape: Element, label: str | None, where: str
) -> None:
    kind = shape.tag
    if kind == "tag":
        builder.remarks.count("tags of whole images are left out", where)
    elif kind in LEFT_OUT:
        builder.remarks.count(f"shapes of the type {kind} have no area and are left out", where)
    elif kind not in SHAPES:
        raise UserError(f"{where} is a <{kind}>, which is not read: {', '.join(SHAPES)} are.")
    elif not label:
        raise UserError(f"{where} has no label: write its class there.")
    elif kind == "mask":
        builder.add_mask(image, label, _mask(shape, image, where))
    elif kind == "box" and not float(shape.get("rotation") or 0):
        left, top, right, bottom = _corners(shape, where)
        builder.add_box(image, label, [left, top, right - left, bottom - top], where)
    else:
        if kind == "box":
            builder.remarks.count("rotated boxes are polygons, their boxes upright", where)
        polygon = _polygon(shape, where)
        if kind != "polygon":
            polygon = cut_at_edge(polygon, (image["width"], image["height"]), where)
        builder.add_polygons(image, label, [polygon], where)


def _corners(shape: Element, where: str) -> Iterator[float]:
    return (number(shape.get(key), f"{where}: {key}") for key in CORNERS)


def _polygon(shape: Element, where: str) -> list[float]:
    angle = number(shape.get("rotation") or "0", f"{where}: rotation")
    if shape.tag == "polygon":
        return _points(shape, where)
    if shape.tag == "ellipse":
        x, y, radius_x, radius_y = (
            number(shape.get(key), f"{where}: {key}") for key in ("cx", "cy", "rx", "ry")
        )
        return rotate(ellipse_polygon(x, y, radius_x, radius_y), (x, y), angle)
    left, top, right, bottom = _corners(shape, where)
    polygon = box_polygon([left, top, right - left, bottom - top])
    return rotate(polygon, ((left + right) / 2, (top + bottom) / 2), angle)


def _points(shape: Element, where: str) -> list[float]:
    pairs = [pair.split(",") for pair in shape.get("points", "").split(";")]
    if len(pairs) < POINTS or any(len(pair) != 2 for pair in pairs):
        raise UserError(f"{where} has points that are no three pairs x,y or more: mend it.")
    return [number(value, where) for pair in pairs for value in pair]


def _mask(shape: Element, image: dict, where: str) -> np.ndarray:
    """A mask from run lengths of its box, row by row, zeros first."""
    keys = ("left", "top", "width", "height")
    left, top, width, height = (int(number(shape.get(k), f"{where}: {k}")) for k in keys)
    runs = [int(number(run, f"{where}: rle")) for run in shape.get("rle", "").split(",")]
    if min(runs) < 0 or sum(runs) != width * height:
        raise UserError(f"{where} has an rle that does not fill its box: export it again.")
    values = np.arange(len(runs)) % 2 == 1
    whole = np.zeros((image["height"], image["width"]), bool)
    if left < 0 or top < 0 or left + width > image["width"] or top + height > image["height"]:
        raise UserError(f"{where} has a mask that reaches outside of its image.")
    box = np.repeat(values, runs).reshape(height, width)
    whole[top : top + height, left : left + width] = box
    return whole
