"""Files that name the class of each colour, or of each value, of label images.

Read are: a csv of names and colours (columns in any order, with or without a header, as 8-bit
numbers or ``#ff8800``), a csv of names and pixel values (Roboflow's ``_classes.csv``), CVAT's
``labelmap.txt`` (``road:128,64,128::``), labelme's ``class_names.txt``, and a JSON with ``labels``
of ``name`` and ``color`` (Mapillary's ``config.json``).
"""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from convnext_dense.data.labels.fit_config import MAX_CLASSES, check_names
from convnext_dense.data.layouts.layout import Colour, Meaning
from convnext_dense.data.own.own_data import IGNORE
from convnext_dense.data.text_files import read_json, read_text
from convnext_dense.errors import UserError

FORMS = (
    "a csv of name,red,green,blue (or name,#rrggbb; or value,name), CVAT's labelmap.txt "
    "(name:red,green,blue::), or a JSON with labels of name and color"
)
IGNORED_NAMES = {IGNORE, "ignored", "__ignore__", "void", "unlabeled", "unlabelled"}
HEX = re.compile(r"#?[0-9a-fA-F]{6}")
HEADERS = {  # of a csv, in lower case
    "name": ("name", "class", "class name", "class_name", "label", "label name", "category"),
    "red": ("r", "red"),
    "green": ("g", "green"),
    "blue": ("b", "blue"),
    "colour": ("color", "colour", "rgb", "hex", "color_rgb"),
    "value": ("pixel value", "value", "pixel", "index", "id", "mask value"),
}
Entry = tuple[str, Colour | int]


def read_class_file(path: Path) -> Meaning:
    """What a file says of the colours or values of label images.

    A class may have several colours. A class named ``ignore`` (``void``, ``unlabeled``,
    ``__ignore__``) is left out of training and evaluation.

    Raises:
        UserError: For a file in none of the known forms, or one that names a colour twice.
    """
    if path.suffix.lower() == ".json":
        entries = _of_json(path)
    elif path.name.lower() == "class_names.txt":
        return Meaning(_names_of_labelme(path), source=str(path))
    else:
        entries = _of_lines(path)
    if not entries:
        raise UserError(f"{path} names no class: a palette is {FORMS}.")
    named: dict[Any, str | None] = {}
    for name, key in entries:
        kept = None if name.strip().lower() in IGNORED_NAMES else name.strip()
        if named.setdefault(key, kept) != kept:
            raise UserError(
                f"{path} gives {_shown(key)} to {named[key] or IGNORE!r} and to {name!r}: a colour "
                "or value has one class."
            )
    classes = tuple(dict.fromkeys(name for name in named.values() if name is not None))
    check_names(classes, str(path))
    if all(isinstance(key, int) for key in named):
        return Meaning(classes, values=named, source=str(path))
    return Meaning(classes, colours=named, source=str(path))


def _of_json(path: Path) -> list[Entry]:
    content = read_json(path)
    labels = content.get("labels") if isinstance(content, dict) else content
    try:
        return [(str(label["name"]), _colour(label["color"], path)) for label in labels]
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} has no labels with name and color: a palette is {FORMS}.") from (
            error
        )


def _names_of_labelme(path: Path) -> tuple[str, ...]:
    """The names in the order of the labels; ``__ignore__`` is written as 255."""
    names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    names = tuple(name.strip("_") if name == "_background_" else name for name in names)
    names = tuple(name for name in names if name != "__ignore__")
    check_names(names, str(path))
    return names


def _of_lines(path: Path) -> list[Entry]:
    lines = [line.strip() for line in read_text(path).splitlines()]
    lines = [line for line in lines if line and not re.match(r"# |#\s*label", line)]
    if lines and all(re.fullmatch(r".+:\s*\d+\s*,\s*\d+\s*,\s*\d+\s*(:.*)?", n) for n in lines):
        return [
            (name, _colour(rest.split(":")[0].split(","), path))
            for name, _, rest in (_cut_name(line) for line in lines)
        ]
    rows = _cells(lines)
    columns = _header(rows[0]) if rows else {}
    return [_entry(row, columns, path) for row in rows[bool(columns) :]]


def _cut_name(line: str) -> tuple[str, str, str]:
    """Name and colour of a line of a labelmap; a name may hold colons itself."""
    found = re.match(r"(.+?)(:)(\s*\d+\s*,\s*\d+\s*,\s*\d+\s*(?::.*)?)$", line)
    return found[1], found[2], found[3]


def _cells(lines: Sequence[str]) -> list[list[str]]:
    """The cells of each line, at whatever separates them."""
    mark = next((mark for mark in (";", "\t", ",") if lines and mark in lines[0]), None)
    rows = csv.reader(lines, delimiter=mark) if mark else (line.split() for line in lines)
    return [[cell.strip() for cell in row if cell.strip()] for row in rows]


def _header(row: Sequence[str]) -> dict[str, int]:
    """The column of each quantity; empty where the first line is no header."""
    known = {name: what for what, names in HEADERS.items() for name in names}
    found = {known[cell.lower()]: n for n, cell in enumerate(row) if cell.lower() in known}
    is_header = "name" in found and not any(cell.isdecimal() or HEX.fullmatch(cell) for cell in row)
    return found if is_header and len(found) > 1 else {}


def _entry(row: Sequence[str], columns: dict[str, int], path: Path) -> Entry:
    """Name, and colour or value, of a line of a csv."""
    if columns:
        try:
            cells = {what: row[n] for what, n in columns.items()}
        except IndexError as error:
            raise _wrong_line(path, row) from error
        if {"red", "green", "blue"} <= cells.keys():
            return cells["name"], _colour([cells[c] for c in ("red", "green", "blue")], path)
        if "colour" in cells:
            return cells["name"], _colour(cells["colour"], path)
        if cells.get("value", "").isdecimal():
            return cells["name"], int(cells["value"])
        raise _wrong_line(path, row)
    numbers = [cell for cell in row if cell.isdecimal()]
    hexes = [cell for cell in row if cell.startswith("#") and HEX.fullmatch(cell)]
    names = [cell for cell in row if cell not in numbers and cell not in hexes]
    if len(names) != 1:
        raise _wrong_line(path, row)
    if hexes:
        return names[0], _colour(hexes[0], path)
    if len(numbers) in (3, 4) and len(row) == len(numbers) + 1:
        # four numbers: an index before the name, or a last column of transparency
        after = row.index(names[0]) + 1
        colour = row[after : after + 3] if len(row) - after >= 3 else numbers[:3]
        return names[0], _colour(colour, path)
    if len(numbers) == 1:
        return names[0], int(numbers[0])
    raise _wrong_line(path, row)


def _colour(value: Any, path: Path) -> Colour:
    """Red, green and blue, of three numbers or of a text."""
    if isinstance(value, str) and HEX.fullmatch(value.strip()):
        digits = value.strip().lstrip("#")
        return tuple(int(digits[n : n + 2], 16) for n in (0, 2, 4))
    parts: Iterable = re.findall(r"\d+", value) if isinstance(value, str) else value
    numbers = [int(part) for part in parts if str(part).strip().isdecimal()]
    if len(numbers) not in (3, 4) or max(numbers) > MAX_CLASSES:
        raise UserError(
            f"{path} holds the colour {value!r}: a colour is three numbers from 0 to 255, or "
            "#rrggbb."
        )
    return tuple(numbers[:3])


def _wrong_line(path: Path, row: Sequence[str]) -> UserError:
    return UserError(f"{path} holds the line {','.join(row)!r}: a palette is {FORMS}.")


def _shown(key: Colour | int) -> str:
    return f"the value {key}" if isinstance(key, int) else f"the colour {','.join(map(str, key))}"
