"""What is said of wrong entries of a COCO file: how many, which is the first, what to do."""

from collections.abc import Sequence
from typing import Any

from convnext_dense.errors import UserError

# mmdet leaves such entries out. COCO's own files have some (2 boxes without height of 860,001 in
# train2017), so a few in a huge file are said and left out.
TOLERATED = 1 / 100_000
SHOWN = 240  # characters of an entry


class DoesNotFit(UserError):
    """Boxes or masks that do not fit their images, as far as the file states their sizes.

    Attributes:
        annotations: The annotations that have them.
        images: The entry of the image of each.
    """

    annotations: Sequence[dict] = ()
    images: Sequence[dict] = ()


def refuse(
    path: str,
    kind: str,
    entries: Sequence[Any],
    wrong: Sequence[int],
    what: str,
    fix: str = "",
    error: type[UserError] = UserError,
) -> None:
    """Raises where any entry is wrong.

    Args:
        path: The COCO file.
        kind: ``images``, ``annotations`` or ``categories``.
        entries: All entries of that kind.
        wrong: Indices of the wrong ones.
        what: What they have, as ``no 'area'``.
        fix: How to mend it, where the finding does not say so itself.
        error: The kind of error.

    Raises:
        UserError: Names the file, the count and the first entry that is wrong.
    """
    if len(wrong):
        found = error(
            f"{path}: {len(wrong)} of {len(entries)} {kind} have {what}{fix and f' ({fix})'}; the "
            f"first has {_short(entries[wrong[0]])}."
        )
        if isinstance(found, DoesNotFit):
            found.annotations = [entries[i] for i in wrong]
        raise found


def refuse_many(
    path: str,
    entries: Sequence[Any],
    wrong: Sequence[int],
    what: str,
    fix: str,
    error: type[UserError] = UserError,
) -> list[str]:
    """As :func:`refuse` for annotations, but of a share up to ``TOLERATED`` it makes a line."""
    if len(wrong) > TOLERATED * len(entries):
        refuse(path, "annotations", entries, wrong, what, fix, error)
    return note(path, entries, wrong, f"{what}: they are left out")


def note(path: str, entries: Sequence[Any], found: Sequence[int], what: str) -> list[str]:
    """One line about annotations that are used or left out; none where there are none."""
    if not len(found):
        return []
    first = entries[found[0]]["id"]
    return [f"{path}: {len(found)} of {len(entries)} annotations have {what} (first id: {first})."]


def _short(entry: Any) -> str:
    """An entry without its long parts."""
    if isinstance(entry, dict):
        entry = {
            key: "..." if key == "segmentation" and isinstance(value, list | dict) else value
            for key, value in entry.items()
        }
    text = str(entry)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
