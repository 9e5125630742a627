"""COCO: a json of images, annotations and categories, or a folder with one for each split."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from convnext_dense.data.formats.request import Request
from convnext_dense.data.formats.splits import NAMES, choose, split_of
from convnext_dense.data.text_files import read_json
from convnext_dense.errors import UserError

LOOKS_FOR = "a json with images, annotations and categories (COCO)"
IN_FOLDERS = ("", "annotations")  # where a folder has its files
ROBOFLOW = "_annotations.coco.json"
OTHER = ("person_keypoints_", "captions_", "stuff_", "panoptic_", "image_info_")  # COCO's others
TRIED = 20  # files, and images, by which a folder is recognised
MAIN = ("images", "annotations", "categories")
LARGE, HEAD = 2**24, 4096  # bytes
KEYS = rb"info|licenses|images|annotations|categories|type"
BEGIN = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"(?:' + KEYS + rb')"')


def fits(path: Path) -> bool:
    """Whether a path is a COCO file, or a folder of some."""
    if path.is_file():
        return path.suffix.lower() == ".json" and _looks_like_coco(path)
    return bool(_files(path))


def is_coco(content: Any) -> bool:
    """Whether the content of a json is COCO's; whole or damaged."""
    return isinstance(content, dict) and sum(isinstance(content.get(m), list) for m in MAIN) > 1


def own_splits(path: Path) -> tuple[str, ...]:
    """The splits that a folder has; none for a file."""
    return tuple(split for split in NAMES if split in _files(path)) if path.is_dir() else ()


def read(request: Request) -> tuple[dict, Path]:
    """The content as it is, and the folder of its images.

    Image names are joined with the folder, also where no such image is there.
    """
    path = request.path
    files = {None: path} if path.is_file() else _files(path)
    if None not in files:
        choose(path, request.split, own_splits(path), "a json whose name or folder says so")
    file = files.get(request.split, files.get(None))
    content = read_json(file)
    if not is_coco(content):
        raise UserError(f"{file} is no COCO file: it needs {', '.join(MAIN[:-1])} and {MAIN[-1]}.")
    images = [entry for entry in content.get("images") or () if isinstance(entry, dict)]
    names = [entry["file_name"] for entry in images if isinstance(entry.get("file_name"), str)]
    folder = request.images or _image_folder(file, names)
    for entry in images:
        if isinstance(entry.get("file_name"), str):
            entry["file_name"] = str(folder.absolute() / entry["file_name"])
    return content, folder


def _files(folder: Path) -> dict[str | None, Path]:
    """The COCO files of a folder by split; a single file of no split has the key None."""
    return dict(_listed(folder, folder.stat().st_mtime_ns)) if folder.is_dir() else {}


@lru_cache(maxsize=8)
def _listed(folder: Path, _state: int) -> tuple[tuple[str | None, Path], ...]:
    found: dict[str | None, list[Path]] = {}
    for inside in sorted(p for p in folder.iterdir() if p.is_dir() and split_of(p.name)):
        if (inside / ROBOFLOW).is_file():
            found.setdefault(split_of(inside.name), []).append(inside / ROBOFLOW)
    candidates = [
        path
        for name in IN_FOLDERS
        for path in sorted((folder / name).glob("*.json"))
        if not path.name.startswith(OTHER)
    ]
    if not found:
        for path in candidates[:TRIED]:
            if _begins_as_coco(path):
                found.setdefault(_split_in_name(path.stem), []).append(path)
    for split, paths in found.items():
        if len(paths) > 1:
            what = f"the {split} split" if split else "no split by their names"
            raise UserError(
                f"{folder} has several COCO files of {what} ({', '.join(p.name for p in paths)}): "
                "name the file itself in the place of the folder."
            )
    if len(found) > 1:
        found.pop(None, None)
    return tuple((split, paths[0]) for split, paths in found.items())


def _begins_as_coco(path: Path) -> bool:
    """Whether a json is COCO's; one of another form is no business of this reader."""
    try:
        return _looks_like_coco(path)
    except UserError:
        return False


def _looks_like_coco(path: Path) -> bool:
    """By the content, or by the first bytes where it takes seconds to read."""
    if path.stat().st_size < LARGE:
        return is_coco(read_json(path))
    with path.open("rb") as file:
        return BEGIN.match(file.read(HEAD)) is not None


def _split_in_name(stem: str) -> str | None:
    """``train`` of ``instances_train2017``."""
    words = stem.replace("-", "_").replace(".", "_").lower().split("_")
    return next(filter(None, (split_of(word.rstrip("0123456789")) for word in words)), None)


def _image_folder(file: Path, names: list[str]) -> Path:
    """The folder, of those that are usual, that has most of the images."""
    split = _split_in_name(file.stem) or split_of(file.parent.name)
    year = file.stem.rsplit("_", 1)[-1]  # train2017 of instances_train2017
    bases = [file.parent, *([file.parent.parent] if file.parent.name != "" else [])]
    subs = ["", "images", year, f"images/{year}"]
    for name in NAMES.get(split, ()):
        subs += [name, f"images/{name}", f"{name}/images", f"{name}2017"]
    folders = [base / sub for base in bases for sub in (*subs, "data", "img", "imgs", "JPEGImages")]
    step = max(1, len(names) // TRIED)
    found = {f: sum((f / name).is_file() for name in names[::step]) for f in folders if f.is_dir()}
    return max(found, key=found.get)  # the first of the best: the json's own where none has any
