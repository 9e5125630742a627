"""Figures of many values, and rows of text in columns."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

POINTS = {"least": 0, "5 %": 5, "median": 50, "95 %": 95, "most": 100}


def five_numbers(values: Sequence[float]) -> dict[str, float | None]:
    """Least, most, median and what 5 and 95 % of the values stay below; None without values."""
    if not len(values):
        return dict.fromkeys(POINTS)
    percentiles = np.percentile(np.asarray(values, float), list(POINTS.values()))
    return {name: round(float(value), 1) for name, value in zip(POINTS, percentiles, strict=True)}


def picture_sizes(sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Widths, heights and the five commonest sizes of images (width, height)."""
    widths, heights = [size[0] for size in sizes], [size[1] for size in sizes]
    common = [
        {"width": width, "height": height, "pictures": count}
        for (width, height), count in Counter(map(tuple, sizes)).most_common(5)
    ]
    return {"width": five_numbers(widths), "height": five_numbers(heights), "commonest": common}


def share(part: float, whole: float) -> str:
    """A part of a whole as a percentage."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def format_rows(rows: Sequence[Sequence[Any]]) -> str:
    """Rows in columns: names on the left, figures on the right; the first row is the head."""
    cells = [["-" if cell is None else _text(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def format_classes(classes: dict[str, dict[str, Any]], head: Sequence[str], order: str) -> str:
    """A row for each class that occurs, most of ``order`` first, and the others by name."""
    occurring = {name: row for name, row in classes.items() if row[order]}
    rows = [("class", *(key.replace("pictures", "images") for key in head))]
    for name, row in sorted(occurring.items(), key=lambda item: -item[1][order]):
        cells = (share(row[key], 1) if key == "share" else f"{row[key]:,}" for key in head)
        rows.append((name, *cells))
    never = [name for name in classes if name not in occurring]
    return format_rows(rows) + (f"\nnever: {', '.join(never)}" if never else "")


def _text(cell: Any) -> str:
    return f"{cell:g}" if isinstance(cell, float) else str(cell)
