"""Label Studio: a json of tasks, as it exports them (JSON or JSON-MIN)."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from convnext_dense.data.formats.content import POINTS, ContentBuilder
from convnext_dense.data.formats.geometry import (
    box_polygon,
    cut_at_edge,
    ellipse_polygon,
    rotate,
)
from convnext_dense.data.formats.image_files import ImageIndex, refuse_missing
from convnext_dense.data.formats.readers.brush import decode_brush
from convnext_dense.data.formats.request import Request
from convnext_dense.data.images import IMAGE_SUFFIXES
from convnext_dense.data.text_files import read_json
from convnext_dense.errors import UserError

LOOKS_FOR = "a json list of tasks with data and annotations (Label Studio)"
KINDS = {  # type of a result -> shape
    "rectanglelabels": "rectangle", "rectangle": "rectangle",
    "polygonlabels": "polygon", "polygon": "polygon",
    "ellipselabels": "ellipse", "ellipse": "ellipse",
    "brushlabels": "brush", "brush": "brush",
}  # fmt: skip
MINIMAL = {"annotation_id", "annotator", "lead_time", "updated_at", "created_at"}  # of JSON-MIN
PERCENT = 100
TRIED = 20  # files by which a folder is recognised
UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # what an upload puts before a file's name


def fits(path: Path) -> bool:
    """Whether a path is an export, or a folder with one."""
    return _file(path) is not None


def own_splits(path: Path) -> tuple[str, ...]:
    """None: an export is not divided."""
    return ()


def is_export(content: Any) -> bool:
    """Whether the content of a json is a list of tasks."""
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return False
    first = content[0]
    return isinstance(first.get("data"), dict) or _minimal_image(first) is not None


def read(request: Request) -> ContentBuilder:
    """The images and objects of all tasks.

    Raises:
        UserError: Names the file, the task and the result of what cannot be read.
    """
    file = _file(request.path)
    if file is None:
        raise UserError(f"{request.path} holds no json list of Label Studio's tasks.")
    builder = ContentBuilder()
    tasks = [(f"{file}: task {_name(task, n)}", task) for n, task in enumerate(read_json(file), 1)]
    found = []
    for where, task in tasks:
        results = _results(builder, where, task)
        if results is not None:
            found.append((where, _reference(where, task), results))
    index = ImageIndex(request.image_folders)
    paths = [_find(index, reference) for _, reference, _ in found]
    missing = [ref for (_, ref, _), path in zip(found, paths, strict=True) if path is None]
    refuse_missing(missing, len(found), file, index.folders)
    for (where, _, results), path in zip(found, paths, strict=True):
        image = builder.add_image(path)
        for number, result in enumerate(results, start=1):
            _add_result(builder, image, result, f"{where}, result {number}")
    return builder


def _file(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix.lower() == ".json" and is_export(read_json(path)) else None
    found = []
    for file in sorted(path.glob("*.json"))[:TRIED]:
        try:
            found += [file] if is_export(read_json(file)) else []
        except UserError:
            continue  # said when it is read
    if len(found) > 1:
        raise UserError(
            f"{path} has several Label Studio files ({', '.join(f.name for f in found)}): name the "
            "file itself in the place of the folder."
        )
    return found[0] if found else None


def _name(task: Any, number: int) -> Any:
    return task.get("id", number) if isinstance(task, dict) else number


def _results(builder: ContentBuilder, where: str, task: Any) -> list[dict] | None:
    """The results of a task's annotation; None where the task has none."""
    if not isinstance(task, dict):
        raise UserError(f"{where} is no task: export the project as JSON again.")
    if not isinstance(task.get("data"), dict):
        return list(_minimal_results(task))
    annotations = _entries(task.get("annotations", task.get("completions")), where)
    kept = [one for one in annotations if not one.get("was_cancelled")]
    if not kept:
        kind = "were skipped" if annotations else "have no annotation"
        builder.remarks.count(f"tasks {kind} and are left out", where)
        return None
    if len(kept) > 1:
        builder.remarks.count("tasks have several annotations: the last is taken", where)
    last = max(enumerate(kept), key=lambda one: (_time(one[1]), one[0]))[1]
    return _entries(last.get("result"), where)


def _time(annotation: dict) -> str:
    """When an annotation was made, as ISO's text; empty where it is not said."""
    return str(annotation.get("updated_at") or annotation.get("created_at") or "")


def _entries(value: Any, where: str) -> list[dict]:
    """A list of annotations or results; nothing is an empty one."""
    if not isinstance(value or [], list) or not all(isinstance(one, dict) for one in value or ()):
        raise UserError(
            f"{where} has annotations or results that are no lists of entries: export the project "
            "as JSON again."
        )
    return value or []


def _minimal_image(task: dict) -> str | None:
    """The image of a task of JSON-MIN, whose data are not apart."""
    images = _images(task)
    return images[0] if images and MINIMAL & set(task) else None


def _minimal_results(task: dict) -> Iterator[dict]:
    """Results of JSON-MIN in the form of JSON."""
    for values in task.values():
        for value in values if isinstance(values, list) else ():
            kind = next((k for k in KINDS if isinstance(value, dict) and k in value), None)
            if kind:
                sizes = {key: value.get(key) for key in ("original_width", "original_height")}
                yield {"type": kind, "value": value, **sizes}


def _reference(where: str, task: dict) -> str:
    """How a task names its image."""
    if not isinstance(task.get("data"), dict):
        image = _minimal_image(task)
        if image is None:
            raise UserError(f"{where} names no image: export the project as JSON again.")
        return image
    images = _images(task["data"])
    if not images:
        raise UserError(
            f"{where} names no image in its data ({', '.join(task['data']) or 'it is empty'}): "
            f"{', '.join(IMAGE_SUFFIXES)} are read."
        )
    return images[0]


def _images(data: dict) -> list[str]:
    """The entries that end as images do."""
    names = [value for value in data.values() if isinstance(value, str)]
    return [name for name in names if _path(name).lower().endswith(IMAGE_SUFFIXES)]


def _path(reference: str) -> str:
    """The path in a URL, a bucket's address or ``/data/local-files/?d=...``."""
    parts = urlsplit(reference.replace("\\", "/"))
    local = parse_qs(parts.query).get("d")
    return local[0] if local else unquote(parts.path)


def _find(index: ImageIndex, reference: str) -> Path | None:
    """The image, by its name with the mark of the upload, then without."""
    path = _path(reference)
    folder, _, name = path.rpartition("/")
    return index.find(path) or index.find(f"{folder}/{UPLOAD.sub('', name)}")


def _add_result(builder: ContentBuilder, image: dict, result: dict, where: str) -> None:
    shape, value = KINDS.get(str(result.get("type"))), result.get("value")
    if shape is None:
        builder.remarks.count(f"results of the type {result.get('type')} are left out", where)
        return
    if not isinstance(value, dict):
        raise UserError(f"{where} has no value: export the project again.")
    label = _label(builder, value, where)
    if label is None:
        return
    _check_size(image, result, where)
    try:
        _add_shape(builder, image, label, shape, value, where)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{where}, a {shape}, cannot be read: {error!r}.") from error


def _label(builder: ContentBuilder, value: dict, where: str) -> str | None:
    """The class of a shape; None for one that was not named."""
    labels = next((value[kind] for kind in KINDS if value.get(kind)), value.get("labels"))
    if not labels:
        builder.remarks.count("shapes without a label are left out", where)
        return None
    if not isinstance(labels, list) or not isinstance(labels[0], str):
        raise UserError(f"{where} has labels that are no list of names: export it again.")
    if len(labels) > 1:
        builder.remarks.count("shapes have several labels: the first is taken", where)
    return labels[0]


def _check_size(image: dict, result: dict, where: str) -> None:
    stated = result.get("original_width"), result.get("original_height")
    size = image["width"], image["height"]
    turned = result.get("image_rotation") or 0
    if turned:
        raise UserError(
            f"{where} was drawn on the image turned by {turned} degrees, which is not read: turn "
            "the image itself, and annotate it again."
        )
    if all(stated) and stated != size:
        raise UserError(
            f"{image['file_name']} has {size[0]} x {size[1]} pixels, but {where} is made for "
            f"{stated[0]} x {stated[1]}: use the images that were annotated."
        )


def _add_shape(
    builder: ContentBuilder, image: dict, label: str, shape: str, value: dict, where: str
) -> None:
    width, height = size = image["width"], image["height"]
    scale = np.array([width, height]) / PERCENT
    if shape == "brush":
        builder.add_mask(image, label, decode_brush(value["rle"], size))
        return
    if shape == "polygon":
        points = np.asarray(value["points"], float).reshape(-1, 2)
        if len(points) < POINTS:
            raise ValueError(f"it has {len(points)} points of at least {POINTS}")
        builder.add_polygons(image, label, [(points * scale).ravel().tolist()], where)
        return
    x, y = np.array([value["x"], value["y"]], float) * scale
    angle = float(value.get("rotation") or 0)
    if shape == "ellipse":
        radii = np.array([value["radiusX"], value["radiusY"]], float) * scale
        polygon = ellipse_polygon(float(x), float(y), *radii.tolist())
        turned = rotate(polygon, (x, y), angle)
        builder.add_polygons(image, label, [cut_at_edge(turned, size, where)], where)
        return
    box = [float(x), float(y), *(np.array([value["width"], value["height"]]) * scale).tolist()]
    if angle:  # about its upper left corner
        turned = rotate(box_polygon(box), (x, y), angle)
        builder.add_polygons(image, label, [cut_at_edge(turned, size, where)], where)
    else:
        builder.add_box(image, label, box, where)
