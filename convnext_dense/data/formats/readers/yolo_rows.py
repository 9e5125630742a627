"""YOLO's label files: a row for each object, ``class x y width height`` or a polygon.

All values are shares of the image's width and height. Rows of boxes have 5 columns; longer ones are
polygons ``class x1 y1 x2 y2 ...``.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np

from convnext_dense.data.formats.geometry import within_image
from convnext_dense.data.text_files import read_text
from convnext_dense.errors import UserError

BOX = 5  # columns
OBB = 9
VISIBILITIES = (0, 1, 2)  # of a keypoint


@dataclass(frozen=True)
class Row:
    """An object as it is written.

    Attributes:
        place: ``file:line``.
        index: Its class.
        values: The numbers behind it.
    """

    place: str
    index: int
    values: tuple[float, ...]

    @property
    def columns(self) -> int:
        """Columns of the row, the class included."""
        return 1 + len(self.values)


def read_rows(path: Path, classes: int) -> list[Row]:
    """The objects of a label file; blank lines are none.

    Args:
        path: The file.
        classes: Number of class names.

    Raises:
        UserError: Names the line that is no row, or whose class has no name.
    """
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if words := line.split():
            rows.append(_parse(f"{path}:{number}", words, classes))
    return rows


def _parse(place: str, words: list[str], classes: int) -> Row:
    try:
        index, *values = map(float, words)
    except ValueError as error:
        raise UserError(
            f"{place} is no row of numbers: {' '.join(words)[:60]!r}; YOLO's rows are "
            "class x y width height, or class x1 y1 x2 y2 ..."
        ) from error
    if not all(map(isfinite, (index, *values))):
        raise UserError(f"{place} holds a value that is no finite number: correct or remove it.")
    if index != int(index) or index < 0:
        raise UserError(f"{place} begins with {words[0]}, which is no class index (0, 1, ...).")
    if index >= classes:
        raise UserError(
            f"{place} has the class index {int(index)}, but there are {classes} class names (0 to "
            f"{classes - 1}): add the names, or correct the index."
        )
    _check_columns(place, len(words))
    return Row(place, int(index), tuple(values))


def _check_columns(place: str, columns: int) -> None:
    if columns < BOX:
        raise UserError(f"{place} has {columns} columns: a box has 5, a polygon 7 or more.")
    if columns == BOX + 1:
        raise UserError(
            f"{place} has 6 columns: a box with a confidence or a track id, as predictions have, "
            "and no annotation: cut the last column off."
        )
    if columns > BOX and columns % 2 == 0:
        raise UserError(
            f"{place} has {columns} columns: a polygon has its class and pairs of x and y, so an "
            "odd number; keypoints, confidences and track ids are not read."
        )


def refuse_other_tasks(rows: Iterable[Row], source: Path, named: bool) -> None:
    """Refuses oriented boxes and poses, whose rows look like polygons.

    Args:
        rows: All objects.
        source: Where they are from, for the message.
        named: Whether the user named the format.

    Raises:
        UserError: Names the task.
    """
    columns = Counter(row.columns for row in rows)
    if len(columns) != 1:
        return
    (count,) = columns
    if count == OBB and not named:
        refuse_oriented(source, "each row has 9 columns: a class and four corners")
    keypoints, rest = divmod(count - BOX, 3)
    if keypoints and not rest and all(_has_visibilities(row) for row in rows):
        refuse_pose(source, f"each row has a box and {keypoints} keypoints of x, y, visibility")


def refuse_oriented(source: Path, why: str) -> None:
    """Refuses oriented boxes."""
    raise UserError(
        f"{source} holds oriented boxes (YOLO OBB; {why}), and this detector's boxes are upright: "
        "--data-format yolo (--from yolo of convnext-dense data) reads such rows as polygons of "
        "four points."
    )


def refuse_pose(source: Path, why: str) -> None:
    """Refuses keypoints."""
    raise UserError(
        f"{source} holds keypoints (YOLO pose; {why}), which a detector does not learn: keep the "
        "first five columns of each row, class x y width height, and remove kpt_shape."
    )


def _has_visibilities(row: Row) -> bool:
    return all(value in VISIBILITIES for value in row.values[BOX + 1 :: 3])


def to_box(row: Row, size: tuple[int, int]) -> list[float]:
    """``[x, y, width, height]`` in pixels of a row of a box, within its image.

    Raises:
        UserError: When it reaches more than a pixel over the edge.
    """
    x, y, width, height = row.values
    if width < 0 or height < 0:
        raise UserError(f"{row.place} has a negative width or height: correct or remove it.")
    corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    left, top, right, bottom = _in_pixels(row, corners, size)
    return [left, top, right - left, bottom - top]


def to_polygon(row: Row, size: tuple[int, int]) -> list[float]:
    """``[x1, y1, x2, y2, ...]`` in pixels of a row of a polygon, within its image.

    Raises:
        UserError: When it reaches more than a pixel over the edge.
    """
    return _in_pixels(row, row.values, size)


def _in_pixels(row: Row, values: Iterable[float], size: tuple[int, int]) -> list[float]:
    points = np.asarray(values, float).reshape(-1, 2) * size
    return within_image(points.ravel(), size, row.place)
