"""Own images with one class each: class folders at any depth, or a table beside the images.

Tables: ``metadata.csv`` and ``metadata.jsonl`` of Hugging Face's image folders, and lists of a name
and a class a line.
"""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from convnext_dense.data.formats.image_files import ImageIndex, list_images
from convnext_dense.data.text_files import read_json, read_text
from convnext_dense.errors import UserError

TABLES = ("metadata.csv", "metadata.jsonl")
NAMES = ("file_name", "filename", "file", "image", "path", "name")
CLASSES = ("label", "class", "category", "class_name")
SHOWN = 5  # names in a sentence


class Labelled(NamedTuple):
    """An image and the name of its class."""

    path: Path
    label: str


def read_labelled(path: Path, table: Path | None = None) -> list[Labelled]:
    """Finds the images of a folder and their classes.

    A class is named by its folder's path below ``path``: ``dogs``, or ``animals/dogs``.

    Args:
        path: A folder of class folders, a folder with a table, or a table.
        table: ``--train-list`` or ``--val-list``: the classes of the images in ``path``.

    Raises:
        UserError: For data without classes, images that are missing, and folders with both images
            and class folders in them.
    """
    if path.is_file():
        return _read_table(path, path.parent)
    table = table or next((path / name for name in TABLES if (path / name).is_file()), None)
    return _read_table(table, path) if table else _read_folders(path)


def read_class_names(path: Path) -> tuple[str, ...]:
    """The class names of ``--classes``: a line each, or ``id2label`` of a Hub's ``config.json``.

    Raises:
        UserError: For a file without names, and names that occur twice.
    """
    if path.suffix.lower() == ".json":
        content = read_json(path)
        found = content.get("id2label") if isinstance(content, dict) else None
        wanted = [str(number) for number in range(len(found or ()))]
        if not found or sorted(map(str, found)) != sorted(wanted):
            raise UserError(
                f"{path} has no id2label with the numbers 0, 1, 2 ...: give a file of class names, "
                "one a line, with --classes."
            )
        names = [str(found[number]).strip() for number in wanted]
    else:
        names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not names:
        wrong = f"names {twice[0]!r} twice" if twice else "names no class"
        raise UserError(f"{path} {wrong}: --classes takes each class name once, a line each.")
    return tuple(names)


def _read_folders(root: Path) -> list[Labelled]:
    images = list_images(root)
    inside = {path.parent for path in images}
    if not images:
        raise UserError(f"{root} contains no images: it needs a folder of images for each class.")
    if root in inside:
        raise UserError(
            f"{root} has images that lie in no class folder, such as "
            f"{next(path.name for path in images if path.parent == root)}: give their classes with "
            "--train-list or --val-list, a csv of name,class."
        )
    for folder in sorted(inside):
        if between := next((up for up in folder.parents if up in inside), None):
            raise UserError(
                f"{between} has images and the class folder {folder.relative_to(between)} in it: "
                "images lie in the innermost folders, so move them into folders of their own."
            )
    if empty := sorted(_empty_folders(root, inside)):
        some = ", ".join(empty[:SHOWN]) + (" ..." if len(empty) > SHOWN else "")
        raise UserError(
            f"{root}: {len(empty)} class folder{'s' * (len(empty) > 1)} without images: {some}: "
            "fill or remove them."
        )
    return [Labelled(path, path.parent.relative_to(root).as_posix()) for path in images]


def hidden_folders(root: Path) -> list[str]:
    """Folders with images that are left out because their names begin with a dot."""
    if not root.is_dir():
        return []
    hidden = (entry for entry in sorted(root.iterdir()) if entry.name.startswith("."))
    return [entry.name for entry in hidden if entry.is_dir() and list_images(entry)]


def _empty_folders(root: Path, inside: set[Path]) -> Iterator[str]:
    """The innermost folders that hold no image, hidden ones left out."""
    for parent, folders, _ in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if not folders and Path(parent) not in inside:
            yield Path(parent).relative_to(root).as_posix()


def _read_table(table: Path, folder: Path) -> list[Labelled]:
    rows = [*(_json_rows(table) if table.suffix.lower() == ".jsonl" else _csv_rows(table))]
    if not rows:
        raise UserError(f"{table} lists no images: it needs a line of name,class for each.")
    index, images, missing = None, [], []
    for name, label in rows:
        path = folder / name
        if not path.is_file():
            index = index or ImageIndex((folder,))
            path = index.find(name)
        if path is None:
            missing.append(name)
        else:
            images.append(Labelled(path, label))
    if missing:
        raise UserError(
            f"{table} lists {len(missing)} of {len(rows)} images that are not in {folder}, such as "
            f"{missing[0]}: name the folder of the images, or correct the list."
        )
    twice = [path for path, count in Counter(path for path, _ in images).items() if count > 1]
    if twice:
        raise UserError(f"{table} lists {twice[0]} twice: an image has one class, in one line.")
    return images


def _csv_rows(table: Path) -> Iterator[tuple[str, str]]:
    lines = [line for line in read_text(table).splitlines() if line.strip()]
    first = lines[0] if lines else ""
    delimiter = next((sign for sign in (",", ";", "\t") if sign in first), " ")
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    header = [cell.lower() for cell in rows[0]] if rows else []
    name, label = (next((c for c in known if c in header), None) for known in (NAMES, CLASSES))
    columns = (0, 1)
    if name and label:
        columns, rows = (header.index(name), header.index(label)), rows[1:]
    for number, row in enumerate(rows, start=1):
        if len(row) <= max(columns) or not all(row[column] for column in columns):
            raise UserError(
                f"{table}, row {number}: {delimiter.join(row)!r} is no name and class: give one "
                "image a line, name,class, or the columns file_name and label."
            )
        yield row[columns[0]], row[columns[1]]


def _json_rows(table: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(read_text(table).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        named = row if isinstance(row, Mapping) else {}
        name, label = (next((c for c in known if c in named), None) for known in (NAMES, CLASSES))
        if name is None or label is None:
            raise UserError(
                f"{table}, line {number}: {line.strip()[:60]!r} has no file_name and label."
            )
        yield str(named[name]), str(named[label])
