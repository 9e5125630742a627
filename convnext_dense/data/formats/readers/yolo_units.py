"""YOLO rows in pixels or as two corners: all of them read wrongly, and one sentence says why."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from convnext_dense.data.formats.geometry import EDGE
from convnext_dense.data.formats.readers.yolo_rows import BOX, Row
from convnext_dense.errors import UserError

LARGEST = 2.0  # a share beyond it lies outside of any image, whatever else the row says
SUSPICIOUS = 0.1  # share of boxes over the edge from which another form is looked for


def refuse_other_units(rows: Sequence[tuple[Row, tuple[int, int]]], source: Path) -> None:
    """Refuses rows that all look like pixels, or all like two corners.

    Args:
        rows: All objects, each with (width, height) of its image.
        source: Where they are from, for the message.

    Raises:
        UserError: Names the cause and the first row.
    """
    if not rows:
        return
    first = rows[0][0]
    shown = f"the first, {first.place}, has {' '.join(f'{v:g}' for v in first.values[:4])}"
    if all(max(row.values) > LARGEST for row, _ in rows):
        raise UserError(
            f"{source}: all rows ({len(rows):,}) look as if in pixels ({shown}), and YOLO's are "
            "shares of the image: divide each x and width by its width, each y and height by its "
            "height."
        )
    if all(row.columns == BOX for row, _ in rows) and _are_corners(rows):
        raise UserError(
            f"{source}: all rows ({len(rows):,}) look like two corners x1 y1 x2 y2 ({shown}), for "
            "as boxes they reach over the edges of their images: YOLO's rows are class x y width "
            "height, and x and y are those of the centre."
        )


def _are_corners(rows: Sequence[tuple[Row, tuple[int, int]]]) -> bool:
    values = np.array([row.values for row, _ in rows])
    sizes = np.array([size for _, size in rows])
    first, second = values[:, :2], values[:, 2:]  # as boxes: the centre and the extent
    over = np.maximum(second / 2 - first, first + second / 2 - 1) * sizes
    suspicious = (over > EDGE).any(1).sum() > max(1, SUSPICIOUS * len(rows))
    return bool(suspicious and (second > first).all() and (values >= 0).all() and values.max() <= 1)
