"""Plain-text tables with aligned columns."""

from collections.abc import Sequence


def format_columns(rows: Sequence[Sequence[str]], alignment: Sequence[str]) -> list[str]:
    """Pads cells so that the columns are aligned, with two spaces between them.

    Args:
        rows: Cells of each row; all rows have the same number of cells.
        alignment: ``<`` or ``>`` for each column, optionally with a minimum width (``>9``).

    Returns:
        A line for each row, without trailing spaces.
    """
    formats = [
        f"{column[0]}{max([int(column[1:] or 0), *map(len, cells)])}"
        for column, cells in zip(alignment, zip(*rows, strict=True), strict=True)
    ]
    return ["  ".join(map(format, row, formats)).rstrip() for row in rows]
