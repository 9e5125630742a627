"""Mends a COCO file where its meaning is clear; each mending is a line of a table."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from convnext_dense.data.mending.boxes import (
    clip_boxes,
    complete_areas,
    complete_boxes,
    complete_crowds,
    leave_out_flat,
    leave_out_negatives,
)
from convnext_dense.data.mending.categories import (
    join_categories,
    leave_out_fillers,
    name_categories,
    order_as_trained,
)
from convnext_dense.data.mending.draft import KINDS, Draft, Row, read_draft
from convnext_dense.data.mending.ids import leave_out_dangling, number_anew, unify_ids
from convnext_dense.data.mending.images import (
    complete_sizes,
    find_image_files,
    join_repeated,
    leave_out_missing,
)
from convnext_dense.data.mending.masks import write_masks_alike
from convnext_dense.errors import UserError
from convnext_dense.text_table import format_columns

# In this order: negatives before the ids, of which they often have none; ids before what is looked
# up by them, files before their sizes, masks before the boxes and areas that are made of them.
MENDINGS: tuple[Callable[[Draft], list[Row]], ...] = (
    leave_out_negatives,
    unify_ids,
    name_categories,
    join_categories,
    find_image_files,
    complete_sizes,
    join_repeated,
    leave_out_missing,
    leave_out_dangling,
    write_masks_alike,
    complete_boxes,
    clip_boxes,
    complete_areas,
    leave_out_flat,
    complete_crowds,
    leave_out_fillers,
    order_as_trained,
    number_anew,
)


class Mended(NamedTuple):
    """A mended file.

    Attributes:
        content: What it holds; the same object where nothing was mended.
        rows: What was mended; empty where nothing was.
    """

    content: dict
    rows: list[Row]


def mend(
    content: Any,
    source: str,
    images: Path | None = None,
    classes: Sequence[str] | None = None,
) -> Mended:
    """Mends what a COCO file means clearly but says in another way than training reads it.

    What is left is checked by :func:`convnext_dense.data.coco.check_entries.check_coco` as any
    other file is. ``docs/mending.md`` has the list, and the reasons.

    Args:
        content: What the file holds; it stays as it is.
        source: The file, for messages.
        images: The folder that image names are relative to; None where they are full paths.
        classes: Class names of the training data, to whose order other files are brought.

    Raises:
        UserError: Where the meaning would be a guess.
    """
    draft = read_draft(content, source, images, classes)
    rows = [row for mending in MENDINGS for row in mending(draft)]
    if not rows:
        return Mended(content, [])
    return Mended(content | {kind: getattr(draft, kind) for kind in KINDS}, rows)


def format_mended(source: str, rows: Sequence[Row], used: Path) -> str:
    """The table of what was mended.

    Args:
        source: The file.
        rows: See :class:`Mended`.
        used: The mended file.
    """
    cells = [(f"{row.count:,}", row.what, row.example) for row in rows]
    lines = format_columns(cells, [">", "<", "<"])
    return "\n".join([f"{source}, mended into {used}:", *(f"  {line}" for line in lines)])


def refuse_mended(source: str, rows: Sequence[Row]) -> None:
    """Raises where anything would be mended: ``--strict``.

    Raises:
        UserError: Names all of it.
    """
    if rows:
        found = "; ".join(
            f"{row.count:,} {row.what.split(':')[0]}" + (f" ({row.example})" if row.example else "")
            for row in rows
        )
        raise UserError(
            f"{source} is not used as it is (--strict): {found}. Mend it, or leave out --strict to "
            "have it mended into a copy."
        )
